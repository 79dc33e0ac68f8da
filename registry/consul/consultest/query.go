package consultest

import (
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

const (
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
	// jitterFraction is the part of the wait that Consul may add at random, lest all clients return at once.
	jitterFraction = 16
)

// read is one answer that can be waited for. Its functions are called with the lock held.
type read struct {
	index  func() uint64
	topics func() []string
	answer func(*view) any
	empty  any  // the answer of a registry that has forgotten everything
	stream bool // Consul answers its blocking form from a stream of events
}

// view is what a client may see: it notes whether something was kept back.
type view struct {
	hide     func(service string) bool
	filtered bool
}

func (v *view) hides(service string) bool {
	if v.hide == nil || !v.hide(service) {
		return false
	}
	v.filtered = true
	return true
}

// options are the query parameters that all reads share.
type options struct {
	minIndex   uint64
	wait       time.Duration
	stale      bool
	consistent bool
	cached     bool
}

func (s *Server) parseOptions(r *http.Request) (options, error) {
	q := r.URL.Query()
	o := options{stale: q.Has("stale"), consistent: q.Has("consistent"), cached: q.Has("cached")}
	if dc := dcOf(r); dc != "" && dc != s.opts.Datacenter {
		return o, serverError("No path to datacenter")
	}
	if ms := q.Get("max_stale"); ms != "" {
		d, err := time.ParseDuration(ms)
		if err != nil {
			return o, badRequest("Invalid max_stale value %q", ms)
		}
		o.stale = o.stale || d > 0
	}
	if o.stale && o.consistent {
		return o, badRequest("Cannot specify ?stale with ?consistent, conflicting semantics.")
	}
	if o.cached && o.consistent {
		return o, badRequest("Cannot specify ?cached with ?consistent, conflicting semantics.")
	}
	if w := q.Get("wait"); w != "" {
		d, err := time.ParseDuration(w)
		if err != nil {
			return o, badRequest("Invalid wait time")
		}
		o.wait = d
	}
	if o.wait <= 0 {
		o.wait = defaultWait
	}
	o.wait = min(o.wait, maxWait)
	if i := q.Get("index"); i != "" {
		n, err := strconv.ParseUint(i, 10, 64)
		if err != nil {
			return o, badRequest("Invalid index")
		}
		o.minIndex = n
	}
	return o, nil
}

func dcOf(r *http.Request) string {
	q := r.URL.Query()
	if dc := q.Get("datacenter"); dc != "" {
		return dc
	}
	return q.Get("dc")
}

func (o options) consistency() string {
	switch {
	case o.consistent:
		return "consistent"
	case o.stale:
		return "stale"
	}
	return "leader"
}

// streams tells whether an agent would answer from its stream of events rather than ask a server.
func (o options) streams(rd read) bool { return rd.stream && (o.minIndex > 0 || o.cached) }

// needsLeader tells whether a server without a leader has to refuse.
func (o options) needsLeader(rd read) bool { return !o.stale && !o.cached && !o.streams(rd) }

// query answers a read, after waiting if the client asks for what comes after an index.
func (s *Server) query(w http.ResponseWriter, r *http.Request, rd read) (any, error) {
	o, err := s.parseOptions(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := w.Header()
	if err := s.awaitChange(r, o, rd); err != nil {
		if !rd.stream {
			// Most of Consul's endpoints send these with an error too: an index of 1 that means nothing.
			h.Set("X-Consul-Index", "1")
			h.Set("X-Consul-KnownLeader", "false")
			h.Set("X-Consul-LastContact", "0")
			h.Set("X-Consul-Query-Backend", "blocking-query")
		}
		return nil, err
	}
	v := view{hide: s.faults.hide}
	var out any
	if s.faults.empty {
		out = rd.empty
	} else {
		out = rd.answer(&v)
	}
	h.Set("X-Consul-Index", strconv.FormatUint(s.indexNow(rd), 10))
	h.Set("X-Consul-Effective-Consistency", o.consistency())
	if o.streams(rd) {
		// What an agent answers from its stream of events says nothing of a leader: whatever the state of the
		// cluster, the header is false, and the last contact 0. So Consul does since it has streams.
		h.Set("X-Consul-Query-Backend", "streaming")
		h.Set("X-Consul-KnownLeader", "false")
		h.Set("X-Consul-LastContact", "0")
	} else {
		h.Set("X-Consul-Query-Backend", "blocking-query")
		h.Set("X-Consul-KnownLeader", strconv.FormatBool(!s.faults.noLeader))
		h.Set("X-Consul-LastContact", strconv.FormatInt(s.faults.lastContact().Milliseconds(), 10))
	}
	if o.cached {
		h.Set("X-Cache", "HIT")
		h.Set("Age", "0")
	}
	// Consul tells only those with a token that there is something they may not see.
	if v.filtered && (token(r) != "" || s.faults.agentToken) {
		h.Set("X-Consul-Results-Filtered-By-ACLs", "true")
	}
	return out, nil
}

// indexNow is the index of a read as the client is told: never 0, which would make a blocking client spin.
func (s *Server) indexNow(rd read) uint64 {
	if s.faults.empty {
		return max(s.faults.emptyIndex, 1)
	}
	return max(rd.index(), 1)
}

// awaitChange returns, with the lock held as it was, when the read has an index beyond the one asked for, when
// the wait is over, when the store was abandoned, or with an error when there is nobody to answer.
func (s *Server) awaitChange(r *http.Request, o options, rd read) error {
	if s.faults.noLeader && o.needsLeader(rd) {
		return noLeader()
	}
	if o.minIndex == 0 || s.indexNow(rd) > o.minIndex {
		return nil
	}
	timer := time.NewTimer(o.wait + rand.N(o.wait/jitterFraction+1))
	defer timer.Stop()
	s.waiting++
	defer func() { s.waiting-- }()
	for {
		ch, topics, abandoned := make(chan struct{}, 1), rd.topics(), s.st.abandoned
		s.st.watch(ch, topics)
		s.mu.Unlock()
		over := true
		select {
		case <-ch:
			over = false
		case <-abandoned:
		case <-timer.C:
		case <-r.Context().Done():
		case <-s.ctx.Done():
		}
		s.mu.Lock()
		s.st.unwatch(ch, topics)
		switch {
		case s.ctx.Err() != nil:
			// Not an answer that anybody should believe: the connection is cut. (The deferred unlock runs.)
			panic(http.ErrAbortHandler)
		case s.faults.noLeader && o.needsLeader(rd):
			return noLeader()
		case over, s.indexNow(rd) > o.minIndex:
			return nil
		}
	}
}

// statusFilter is the only filter expression there is: a comparison of a check's status, quoted or not.
var statusFilter = regexp.MustCompile("^\\s*Status\\s*(==|!=)\\s*[\"`]?([a-z]+)[\"`]?\\s*$")

// parseStatusFilter returns what decides which checks are listed.
func parseStatusFilter(expr string) (func(*wireCheck) bool, error) {
	if expr == "" {
		return func(*wireCheck) bool { return true }, nil
	}
	m := statusFilter.FindStringSubmatch(expr)
	if m == nil {
		return nil, badRequest("filter %q is not supported by the dev registry, only Status == VALUE and Status != VALUE", expr)
	}
	equal, status := m[1] == "==", m[2]
	return func(c *wireCheck) bool { return (c.Status == status) == equal }, nil
}

// idFilter is the other one: a comparison of an instance's ID, under the name that it has there.
var idFilter = regexp.MustCompile("^\\s*([A-Za-z.]+)\\s*(==|!=)\\s*[\"`]([^\"`]*)[\"`]\\s*$")

func parseIDFilter(field, expr string) (func(id string) bool, error) {
	if expr == "" {
		return func(string) bool { return true }, nil
	}
	m := idFilter.FindStringSubmatch(expr)
	if m == nil || m[1] != field {
		return nil, badRequest("filter %q is not supported by the dev registry, only %s == \"VALUE\" and %s != \"VALUE\"",
			expr, field, field)
	}
	return func(id string) bool { return (id == m[3]) == (m[2] == "==") }, nil
}
