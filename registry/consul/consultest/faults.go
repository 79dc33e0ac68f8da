package consultest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// faults are the ways in which a Consul was seen to fail, or was told to.
type faults struct {
	empty      bool
	emptyIndex uint64
	noLeader   bool
	since      time.Time // when the leader was lost
	hide       func(service string) bool
	deny       bool
	denySelf   bool
	agentToken bool
	garbage    bool
	hang       chan struct{} // closed when the hanging ends; nil when nothing hangs
}

// lastContact is how long ago a server heard from its leader.
func (f *faults) lastContact() time.Duration {
	if !f.noLeader {
		return 0
	}
	return time.Since(f.since)
}

// change sets a fault and makes all waiting queries return, whether what they wait for has changed or not.
func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.st.abandon()
}

// AnswerEmpty makes all lists empty: valid answers, status 200, a plausible index, nothing in them. This is
// what users saw of a server that had just become a member, or leader, with its state not yet there. Waiting
// queries return at once, both when it begins and when it ends.
func (s *Server) AnswerEmpty(on bool) {
	s.change(func() {
		idx := s.st.begin()
		s.faults.empty, s.faults.emptyIndex = on, idx
		if on {
			return
		}
		// All that is there again is newer than the emptiness was.
		for name := range s.st.indexes {
			s.st.raise(idx, name)
		}
	})
}

// NoLeader takes the leader away: reads and writes of the catalog get "No cluster leader", status 500. Stale and
// cached reads go on, with X-Consul-KnownLeader false and a growing X-Consul-LastContact, and so do blocking
// queries of /v1/health/service, of whatever consistency, as an agent has their answers at hand. Two things are
// quicker than in a real cluster: the 500 comes at once, not after seven seconds and more of hoping for a leader,
// and it comes to those that wait as well, as when the server that they wait on is the one that died.
func (s *Server) NoLeader(on bool) {
	s.change(func() { s.faults.noLeader, s.faults.since = on, time.Now() })
}

// FilterByACL hides services from all lists, as a token with too few rights sees them: the named ones, or
// without names all of them, and the nodes too. Only a request that carries a token is told so by
// X-Consul-Results-Filtered-By-ACLs; an anonymous one just sees less.
func (s *Server) FilterByACL(on bool, services ...string) {
	s.change(func() {
		s.faults.hide = nil
		if on {
			s.faults.hide = func(name string) bool { return len(services) == 0 || slices.Contains(services, name) }
		}
	})
}

// DenyToken refuses every request with 403, but those for the datacenters, the leader and the peers, which need
// no rights: "ACL not found" to a token, which is what Consul says of one that was deleted, and "Permission
// denied" to those without. (A real one refuses an anonymous client writes and the agent, and answers its reads
// with less or nothing: that is FilterByACL.) Queries that wait are left to wait, as in Consul.
func (s *Server) DenyToken(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.deny = on
}

// DenySelf refuses /v1/agent/self alone, as to a token that may read services but not the agent.
func (s *Server) DenySelf(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.denySelf = on
}

// AgentToken gives the agent a default token: a request without one counts as having that. Its rights are those
// of FilterByACL. It shows where ACLs are on.
func (s *Server) AgentToken(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.agentToken = on
}

// aclTokenSelf tells a client for whom it is taken.
func (s *Server) aclTokenSelf(_ http.ResponseWriter, r *http.Request) (any, error) {
	if s.aclPolicy() == "allow" {
		return nil, httpError{http.StatusUnauthorized, "ACL support disabled"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if token(r) == "" && !s.faults.agentToken {
		return nil, httpError{http.StatusForbidden, "token does not exist: ACL not found"}
	}
	return map[string]any{"AccessorID": nodeID, "Description": "reads", "Local": false}, nil
}

// Garbage answers every request with status 200 and a page of HTML, as a captive proxy does.
func (s *Server) Garbage(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.garbage = on
}

// Hang takes requests and does not answer them, nor those that wait, until it ends or the server is closed.
func (s *Server) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch hangs := s.faults.hang != nil; {
	case on && !hangs:
		s.faults.hang = make(chan struct{})
	case !on && hangs:
		close(s.faults.hang)
		s.faults.hang = nil
	}
}

// ResetIndex makes all indexes start again from low, as after the servers' state was restored or replaced.
// Waiting queries return at once, with an index below the one they asked for.
func (s *Server) ResetIndex() {
	s.change(func() {
		s.st.raft = 2
		for name := range s.st.indexes {
			s.st.raise(s.st.raft, name)
		}
	})
}

// hang holds a request for as long as the fault is on, its client is there and the server is open.
func (s *Server) hang(ctx context.Context) {
	s.mu.Lock()
	ch := s.faults.hang
	s.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case <-ch:
	case <-ctx.Done():
	case <-s.ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// answerFault answers in place of the endpoint where a fault says so.
func (s *Server) answerFault(w http.ResponseWriter, r *http.Request, e endpoint) bool {
	s.mu.Lock()
	f := s.faults
	s.mu.Unlock()
	switch {
	case f.garbage:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><body><h1>It works!</h1></body></html>\n")
	case e.pattern == "/v1/catalog/datacenters", strings.HasPrefix(e.pattern, "/v1/status/"):
		return false
	case f.deny && token(r) != "":
		writeError(w, httpError{http.StatusForbidden, "ACL not found"})
	case f.deny, f.denySelf && e.pattern == "/v1/agent/self":
		writeError(w, httpError{http.StatusForbidden, s.deniedText(r, e)})
	default:
		return false
	}
	return true
}

func (s *Server) deniedText(r *http.Request, e endpoint) string {
	what := `service:read`
	on := ""
	switch {
	case strings.HasPrefix(e.pattern, "/v1/agent/"):
		what, on = "agent:read", fmt.Sprintf(" on %q", s.opts.NodeName)
	case strings.HasSuffix(e.pattern, "/"):
		on = fmt.Sprintf(" on %q", after(r, e.pattern))
	}
	if token(r) != "" {
		return fmt.Sprintf("Permission denied: token with AccessorID '%s' lacks permission '%s'%s", nodeID, what, on)
	}
	return fmt.Sprintf("Permission denied: anonymous token lacks permission '%s'%s. "+
		"The anonymous token is used implicitly when a request does not specify a token.", what, on)
}

// aclPolicy is what X-Consul-Default-ACL-Policy says.
func (s *Server) aclPolicy() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.hide != nil || s.faults.deny || s.faults.denySelf {
		return "deny"
	}
	return "allow"
}
