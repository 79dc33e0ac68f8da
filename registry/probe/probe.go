// Package probe finds out from this machine whether servers are alive: it connects to those that it is asked for,
// and keeps what came of it for a while. It is the guard's witness.
//
// It is bounded in all: one address is tried once a second at most, all of them 250 times, and so many at a time
// as the configuration says. It never connects to what the configuration forbids.
package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"swallowkeeper/guard"
)

const (
	// MostAtOnce is how many tries under way at the same time are enough.
	MostAtOnce = 250

	// pace is the time between two batches of tries, and perBatch how many start in one.
	pace     = 200 * time.Millisecond
	perBatch = 50
	// refusals is how many tries in a row must fail before a server counts as dead, secondTry the time between them:
	// one may be lost on the way.
	refusals  = 2
	secondTry = time.Second
	// again is how long after its answer a server is tried again, while it is asked for.
	again = 10 * time.Second
	// quietEach is for how long nobody hears of answers while others are to come, for each server that is asked for,
	// mostQuiet for all of them.
	quietEach = time.Millisecond
	mostQuiet = 5 * time.Second
	// good is how long an answer counts.
	good = time.Minute
)

// Config is what a pool is made of.
type Config struct {
	// Path is asked for by HTTP: an answer below 500 says that the server is alive. With "" a connection does.
	Path string
	// AtOnce is how many tries may be under way at the same time, from 1 on.
	AtOnce int
	// Forbids says why an address must not be tried, or "".
	Forbids func(netip.AddrPort) string
	// Metrics, where not nil, measures the tries.
	Metrics *Metrics
}

// Pool tries servers. Its methods may be called from any goroutine.
type Pool struct {
	Config
	// try returns nil where a server is alive.
	try func(context.Context, netip.AddrPort) error
	// wake says that there is something to do.
	wake chan struct{}

	mu      sync.Mutex
	servers map[netip.AddrPort]*server
	flying  int
	news    bool // an answer is another since it was told
}

// server is one that is asked for, or was lately.
type server struct {
	asked  bool
	flying bool      // a try is under way
	due    time.Time // not before then
	failed int       // tries in a row
	// answer came at that time. It is Untried where nothing is known, also after tries that tell nothing.
	answer guard.Answer
	at     time.Time
}

// known reports whether what came of the tries still counts.
func (s *server) known(now time.Time) bool { return !s.at.IsZero() && now.Sub(s.at) <= good }

// New makes a pool; Run has it work.
func New(c Config) *Pool {
	p := &Pool{Config: c, try: connect, wake: make(chan struct{}, 1), servers: map[netip.AddrPort]*server{}}
	if c.Path != "" {
		p.try = getter(c.Path)
	}
	return p
}

// Ask names all servers that are to be tried from now on, and reports whether some of them have no answer yet
// that is still to come. What is not named any more is not tried any more. It does not wait.
func (p *Pool) Ask(servers []netip.AddrPort) (pending bool) {
	allowed := make([]netip.AddrPort, 0, len(servers))
	for _, addr := range servers {
		if p.Forbids(addr) == "" {
			allowed = append(allowed, addr)
		}
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		s.asked = false
	}
	for _, addr := range allowed {
		s := p.servers[addr]
		if s == nil {
			s = &server{due: now}
			p.servers[addr] = s
		}
		s.asked = true
		pending = pending || !s.known(now)
	}
	for addr, s := range p.servers {
		if !s.asked && !s.flying && !s.known(now) && now.After(s.due) {
			delete(p.servers, addr)
		}
	}
	p.Metrics.asked(len(allowed))
	p.rouse()
	return pending
}

// Answer is what a server did when it was tried, Untried where that is more than a minute ago.
func (p *Pool) Answer(addr netip.AddrPort) guard.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.servers[addr]; s != nil && s.known(time.Now()) {
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
