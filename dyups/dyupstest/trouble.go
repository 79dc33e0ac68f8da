package dyupstest

import (
	"net/http"
	"slices"
	"time"
)

// maxCalls bounds the log of calls, so that a demo can run for weeks.
const maxCalls = 20_000

// Call is one call of the interface as it was answered.
type Call struct {
	Time   time.Time
	PID    int // the worker that answered
	Method string
	Path   string
	Body   string
	Status int // 0 where the worker died of it
}

// trouble is what a test makes the interface suffer from.
type trouble struct {
	delay time.Duration
	cut   bool
	hang  chan struct{} // closed when nothing hangs
	fails []planned
}

type planned struct {
	left    int
	answer  answer
	methods []string
}

// faults is what one call suffers.
type faults struct {
	fail *answer
	cut  bool
}

func newTrouble() trouble {
	open := make(chan struct{})
	close(open)
	return trouble{hang: open}
}

// FailNext answers the next n calls with a status and a body instead of doing them:
// calls of these methods, or any where none is given.
func (s *Server) FailNext(n, status int, body string, methods ...string) {
	if n <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.fails = append(s.trouble.fails, planned{n, answer{status: status, body: body}, methods})
}

// Delay makes every call wait before it is done.
func (s *Server) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.delay = d
}

// Hang keeps calls unanswered while on; then they are done.
func (s *Server) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.trouble.hang:
		if on {
			s.trouble.hang = make(chan struct{})
		}
	default:
		if !on {
			close(s.trouble.hang)
		}
	}
}

// CutBodies ends each answer in the middle of its body while on.
func (s *Server) CutBodies(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble.cut = on
}

// fault finds what a call suffers, after it has waited. It reports false where the worker
// ended meanwhile.
func (s *Server) fault(w *worker, method string) (faults, bool) {
	s.mu.Lock()
	delay, hang := s.trouble.delay, s.trouble.hang
	s.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-w.ctx.Done():
			return faults{}, false
		}
	}
	select {
	case <-hang:
	case <-w.ctx.Done():
		return faults{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := faults{cut: s.trouble.cut}
	for i := range s.trouble.fails {
		p := &s.trouble.fails[i]
		if len(p.methods) > 0 && !slices.Contains(p.methods, method) {
			continue
		}
		f.fail = &answer{status: p.answer.status, body: p.answer.body}
		if p.left--; p.left <= 0 {
			s.trouble.fails = slices.Delete(s.trouble.fails, i, i+1)
		}
		break
	}
	return f, true
}

func (s *Server) note(w *worker, r *http.Request, body *string, a answer) {
	c := Call{Time: time.Now(), PID: w.pid, Method: r.Method, Path: r.RequestURI, Status: a.status}
	if body != nil {
		c.Body = *body
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPost:
		s.posts++
	case http.MethodDelete:
		s.deletes++
	case http.MethodGet:
		s.gets++
	}
	if len(s.calls) == maxCalls {
		s.calls = slices.Clone(s.calls[maxCalls/2:])
	}
	s.calls = append(s.calls, c)
}

// Calls lists the calls so far, the newest last. Of very many the oldest are forgotten.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Posts is the number of POST calls so far, whatever their answer.
func (s *Server) Posts() int { return s.count(&s.posts) }

// Deletes is the number of DELETE calls so far, whatever their answer.
func (s *Server) Deletes() int { return s.count(&s.deletes) }

// Gets is the number of GET calls so far, whatever their answer.
func (s *Server) Gets() int { return s.count(&s.gets) }

func (s *Server) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}
