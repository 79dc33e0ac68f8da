// Package probe finds out whether servers are alive, as seen from this machine, by connecting to the requested ones
// repeatedly. It is the guard's witness.
//
// A server that does not answer may be dead, or this machine's network may be down. So a server counts as dead only if
// it failed, another server answered, and it failed again. That cannot happen during a network outage, which ends with
// the first answer.
//
// The load is limited: each address is tried at most once a second, all of them at most 250 times a second, and the
// configuration limits concurrent tries. Forbidden addresses are never tried.
package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"swallowkeeper/guard"
)

const (
	// MostAtOnce is a sufficient number of concurrent tries.
	MostAtOnce = 250

	// pace is the interval between batches of tries, and perBatch the size of a batch.
	pace     = 200 * time.Millisecond
	perBatch = 50
	// refusals is how many consecutive tries must fail before the result counts, because one may be lost, and secondTry
	// the time between them.
	refusals  = 2
	secondTry = time.Second
	// again is the interval between tries of a server that answered.
	again = 10 * time.Second
	// callers is how many live servers are tried at a time to check the network.
	callers = 3
	// quietEach is how long news is held back per requested server while answers are pending, and mostQuiet the maximum
	// for all of them.
	quietEach = time.Millisecond
	maxQuiet  = 5 * time.Second
	// memory is how long results stay valid after a server was last requested: one decision may omit it, and the next
	// request it again.
	memory = 5 * time.Second
)

// Config configures a pool.
type Config struct {
	// Path is requested by HTTP: an answer below 500 means that the server is alive. With "", a connection is enough.
	Path string
	// AtOnce limits concurrent tries; at least 1.
	AtOnce int
	// Forbids returns why an address must not be tried, or "".
	Forbids func(netip.AddrPort) string
	// Here, if not nil, reports whether an address is this machine's, which answers without a network.
	Here func(netip.Addr) bool
	// Metrics, if not nil, counts the tries.
	Metrics *Metrics
}

// Pool tries servers. Its methods are safe for concurrent use.
type Pool struct {
	Config
	// try returns nil if a server is alive.
	try func(context.Context, netip.AddrPort) error
	// wake signals that there is work.
	wake chan struct{}

	mu       sync.Mutex
	servers  map[netip.AddrPort]*server
	sides    [2]side
	inFlight int
	news     bool // an answer changed since the last report
}

// server is a server that is, or recently was, requested.
type server struct {
	asked    bool      // requested now
	at       time.Time // first request, or the last one if it is no longer requested
	side     int
	inFlight bool      // a try is in progress
	soon     bool      // alive, to be tried again soon
	began    time.Time // start of the last try
	tried    time.Time // end of the last try; zero: none ended
	failed   int       // consecutive failed tries
	missed   time.Time // start of the last failed try
	known    bool      // answer is valid; it is also Untried after tries that say nothing
	answer   guard.Answer
}

// counts reports whether the result for a server is still valid.
func (s *server) counts(now time.Time) bool { return s.known && (s.asked || now.Sub(s.at) <= memory) }

// alive reports whether a server is requested and answered its last try.
func (s *server) alive() bool { return s.asked && s.answer == guard.Answered && s.failed == 0 }

// New returns a pool. Run starts its work.
func New(c Config) *Pool {
	p := &Pool{Config: c, try: connect, wake: make(chan struct{}, 1), servers: map[netip.AddrPort]*server{}}
	if c.Path != "" {
		p.try = getter(c.Path)
	}
	return p
}

// Ask sets the servers to try from now on, and reports whether some of their answers are still pending. Other servers
// are no longer tried, and soon forgotten. It does not block.
func (p *Pool) Ask(servers []netip.AddrPort) (pending bool) {
	allowed := make([]netip.AddrPort, 0, len(servers))
	sides := make([]int, 0, len(servers))
	for _, addr := range servers {
		if p.Forbids(addr) == "" {
			allowed, sides = append(allowed, addr), append(sides, p.sideOf(addr))
		}
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	before := map[*server]bool{}
	for _, s := range p.servers {
		before[s], s.asked = s.asked, false
	}
	for i, addr := range allowed {
		s := p.servers[addr]
		switch {
		case s == nil:
			s = &server{at: now}
			p.servers[addr] = s
		case !before[s] && now.Sub(s.at) > memory:
			*s = server{at: now, inFlight: s.inFlight, began: s.began}
		}
		s.asked, s.side = true, sides[i]
	}
	for addr, s := range p.servers {
		switch {
		case s.asked:
		case before[s]:
			s.at = now
		case !s.inFlight && now.Sub(s.at) > memory:
			delete(p.servers, addr)
		}
	}
	p.Metrics.asked(len(allowed))
	p.rouse()
	return p.pending()
}

// Answer returns the result of trying a server, or Untried if it is not requested.
func (p *Pool) Answer(addr netip.AddrPort) guard.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.servers[addr]; s != nil && s.counts(time.Now()) {
		return s.answer
	}
	return guard.Untried
}

func (p *Pool) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
