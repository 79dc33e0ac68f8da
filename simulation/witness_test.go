package simulation

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"swallowkeeper/guard"
)

// witness connects to servers of the world, which accept or refuse, from a host that may be without a network. The real
// one, registry/probe, has its own suite; this one goes by the same rule: dead is who failed, and failed again after
// somebody else had answered.
type witness struct {
	d    *daemon
	lag  time.Duration // until the next round
	wake chan struct{}

	mu       sync.Mutex
	wanted   map[netip.AddrPort]bool
	servers  map[netip.AddrPort]*suspect
	answered time.Time // when anybody answered last
}

type suspect struct {
	left   time.Time // when nobody wanted it any more
	tried  time.Time
	failed time.Time // the first time since it answered
	answer guard.Answer
}

const (
	secondTry  = time.Second
	tryAgain   = 10 * time.Second
	remembered = 5 * time.Second
)

// Ask implements syncer.Witness.
func (t *witness) Ask(servers []netip.AddrPort) (pending bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.wanted)
	now := time.Now()
	for _, addr := range servers {
		s := t.servers[addr]
		if s == nil {
			s = &suspect{}
			t.servers[addr] = s
		}
		t.wanted[addr], s.left = true, now
		pending = pending || s.answer == guard.Untried
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return pending
}

// Answer implements syncer.Witness.
func (t *witness) Answer(addr netip.AddrPort) guard.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.servers[addr]; s != nil {
		return s.answer
	}
	return guard.Untried
}

// Run implements syncer.Witness.
func (t *witness) Run(ctx context.Context, heard func()) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-t.wake:
		}
		for t.busy() && ctx.Err() == nil {
			timer.Reset(t.lag)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			news := false
			err := t.d.w.turn(turn{daemon: t.d, actor: t.d.name + "/witness", what: "tries", do: func() error {
				news = t.round()
				t.lag = t.d.w.between(secondTry, secondTry+100*time.Millisecond)
				return nil
			}})
			if err != nil {
				return
			}
			if news {
				heard()
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (t *witness) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wanted) > 0
}

// round tries everybody who is due, and reports whether an answer is another than before.
func (t *witness) round() (news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, w, before := time.Now(), t.d.w, t.answered
	for _, addr := range sortedAddrs(t.servers) {
		s := t.servers[addr]
		switch {
		case !t.wanted[addr] && now.Sub(s.left) > remembered:
			delete(t.servers, addr)
			continue
		case !t.wanted[addr], s.answer == guard.Answered && s.failed.IsZero() && now.Sub(s.tried) < tryAgain:
			continue
		}
		was := s.answer
		switch s.tried = now; {
		case w.accepts(addr.String()) && now.After(w.dark[t.d.host]):
			s.answer, s.failed, t.answered = guard.Answered, time.Time{}, now
		case s.failed.IsZero():
			s.failed = now
		case before.After(s.failed):
			s.answer = guard.Refused
		default:
			s.answer = guard.Unproven
		}
		news = news || s.answer != was
	}
	return news
}

func sortedAddrs[V any](m map[netip.AddrPort]V) []netip.AddrPort {
	all := make([]netip.AddrPort, 0, len(m))
	for addr := range m {
		all = append(all, addr)
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all
}

// accepts reports whether a server accepts connections. What a registry only dreamt of has another port.
func (w *world) accepts(addr string) bool {
	_, dead := w.dead[addr]
	return !dead && strings.HasSuffix(addr, ":80")
}

// up is an instance that comes up: it accepts connections, and is registered as usable.
func (w *world) up(instances map[string]state, addr string) {
	instances[addr] = usable
	if _, was := w.dead[addr]; was {
		delete(w.dead, addr)
		w.revived[addr] = time.Now()
	}
}

// down is a server that accepts no connections any more, whatever is registered.
func (w *world) down(addr string) {
	if _, was := w.dead[addr]; !was {
		w.dead[addr] = time.Now()
	}
}

// lately is how long a witness may take a server for dead that is alive again: until it is tried next, and the loop
// has heard of that.
const lately = tryAgain + 2*time.Second

// buries reports whether a daemon may let a server go as dead: its witness may have found it so.
func (o *oracle) buries(d *daemon, key string) bool {
	_, addr, _ := strings.Cut(key, " ")
	return d.witness != nil && (!o.w.accepts(addr) || time.Since(o.w.revived[addr]) < lately)
}

// bury notes who left traffic dead, and how many of those there are of late: what a witness has found dead is no loss.
func (o *oracle) bury(before, v *version, d *daemon) {
	for key := range before.traffic {
		if _, still := v.traffic[key]; !still && o.buries(d, key) {
			o.buried[key] = time.Now()
		}
	}
	for key := range v.traffic {
		delete(o.buried, key)
	}
}

func (o *oracle) buriedOf(service string) (n int) {
	for key, at := range o.buried {
		name, _, _ := strings.Cut(key, " ")
		if (service == "" || name == service) && time.Since(at) < 2*o.w.script.limits.Window {
			n++
		}
	}
	return n
}
