package status

import (
	"context"
	"net"
	"net/http"
)

// Routes are the patterns of the API as the mux has them.
func Routes() []string {
	var patterns []string
	for _, r := range (&Site{}).routes() {
		patterns = append(patterns, r.pattern)
	}
	return patterns
}

// OpenAPI is the embedded document.
func OpenAPI() []byte { return openAPI }

// MostStreams is how many streams of events there may be.
const MostStreams = maxStreams

// MostConnections is how many connections there may be at the address.
const MostConnections = maxConnections

// MostAnswers is how many large answers are made at once.
const MostAnswers = maxAnswers

// Whole is what is done to a value before it becomes JSON.
func Whole(v any, language string) any { return whole(v, language) }

// Put has the site answer at a listener of the test as it does at its address, or its socket.
func (s *Site) Put(l net.Listener, trusted bool) {
	if trusted {
		s.unix = l
		return
	}
	s.tcp = l
}

// Turn waits for a turn.
func (s *Site) Turn(ctx context.Context) bool { return s.turn(ctx) }

// Streams is how many streams of events are open.
func (s *Site) Streams() int { return len(s.streams) }

// HeaderTimeout is how long a header may take.
const HeaderTimeout = headerTimeout

// Crowd is a listener with a limit.
type Crowd struct {
	Listener net.Listener
	Moved    func(net.Conn, http.ConnState)
}

// NewCrowd makes one.
func NewCrowd(l net.Listener, most int) Crowd {
	c := newConnLimiter(l, most)
	return Crowd{c, c.moved}
}
