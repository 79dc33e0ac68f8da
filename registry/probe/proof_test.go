package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// network is what can be reached when, of servers in two halves of it and on this machine.
type network struct {
	began time.Time
	cuts  []cut
	dead  map[netip.AddrPort]bool
	takes time.Duration // how long a server that does not answer lets wait
}

// cut is an outage: of what is in it nothing can be reached.
type cut struct {
	from, to time.Duration
	of       func(netip.Addr) bool
}

func (n *network) try(_ context.Context, addr netip.AddrPort) error {
	after := time.Since(n.began)
	lost := slices.ContainsFunc(n.cuts, func(c cut) bool { return after >= c.from && after < c.to && c.of(addr.Addr()) })
	if !lost && !n.dead[addr] {
		time.Sleep(time.Millisecond) // the fake clock's
		return nil
	}
	time.Sleep(n.takes)
	return errRefused
}

// The halves of the network, and this machine.
func left(ip netip.Addr) bool          { return !thisHost(ip) && ip.As4()[3]%2 == 0 }
func right(ip netip.Addr) bool         { return !thisHost(ip) && ip.As4()[3]%2 == 1 }
func thisHost(ip netip.Addr) bool      { return ip.As4()[2] == 9 }
func everybodyElse(ip netip.Addr) bool { return !thisHost(ip) }

func at(last byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 80)
}

func own(last byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 9, last}), 80)
}

func service(name string, addrs ...netip.AddrPort) upstream.Upstream {
	u := upstream.Upstream{Name: name}
	for _, a := range addrs {
		u.Servers = append(u.Servers, upstream.Server{Addr: a, Weight: 1})
	}
	return u
}

// written is what is in traffic, and listed what of it is listed still: the guard holds the rest of web.
func written() upstream.Set {
	return upstream.NewSet([]upstream.Upstream{
		service("web", at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)), service("api", at(11), at(12), own(1)), service("job", own(2)),
	})
}

func listed() upstream.Set {
	return upstream.NewSet([]upstream.Upstream{
		service("web", at(8)), service("api", at(11), at(12), own(1)), service("job", own(2)),
	})
}

// judged has the guard decide with a pool for witness for a while, as the syncer does. It returns when what is
// not listed any more went with that proof, 0 where it did not.
func judged(t *testing.T, n *network, asked func(after time.Duration) bool, span time.Duration) (gone time.Duration) {
	p := New(Config{AtOnce: MostAtOnce, Forbids: func(netip.AddrPort) string { return "" }, Here: thisHost})
	p.try = n.try
	n.began = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { cancel(); <-ended }()
	c := guard.DefaultConfig()
	in := guard.Input{Accepted: written(), Witness: p.Answer, Here: thisHost}
	for {
		in.Now, in.Seen = time.Now(), written()
		if asked(in.Now.Sub(n.began)) {
			in.Seen = listed()
		}
		d := c.Decide(in)
		if slices.ContainsFunc(d.Released, func(r guard.Release) bool { return r.By == guard.ByProof }) {
			return in.Now.Sub(n.began)
		}
		in.History = d.History
		p.Ask(d.Ask)
		if in.Now.Sub(n.began) > span {
			return 0
		}
		tick := time.Second
		if len(d.Ask) == 0 {
			tick = 10 * time.Second
		}
		select {
		case <-heard:
		case <-time.After(tick): // the fake clock's
		}
	}
}

func always(time.Duration) bool { return true }

// An outage proves nothing, whenever it begins, of whom it is, and however it moves: all that is not listed any more
// is alive.
func TestAnOutageProvesNothing(t *testing.T) {
	everybody := func(netip.Addr) bool { return true }
	for _, long := range []time.Duration{5 * time.Second, 20 * time.Second, 61 * time.Second} {
		for name, cuts := range map[string]func(at time.Duration) []cut{
			"of everything": func(at time.Duration) []cut { return []cut{{at, at + long, everybody}} },
			"of half":       func(at time.Duration) []cut { return []cut{{at, at + long, left}} },
			"of this host alone, whose own servers answer": func(at time.Duration) []cut { return []cut{{at, at + long, everybodyElse}} },
			"of one half after the other":                  func(at time.Duration) []cut { return []cut{{at, at + long, left}, {at + long, at + 2*long, right}} },
			"of one half a little after the other": func(at time.Duration) []cut {
				return []cut{{at, at + long, left}, {at + long + 3*time.Second, at + 2*long, right}}
			},
			"that comes again": func(at time.Duration) []cut {
				return []cut{{at, at + long, everybody}, {at + long + 4*time.Second, at + 2*long + 4*time.Second, everybody}}
			},
		} {
			t.Run(fmt.Sprintf("%s, %s long", name, long), func(t *testing.T) {
				for begins := -3 * time.Second; begins < 12*time.Second; begins += 1370 * time.Millisecond {
					for _, takes := range []time.Duration{time.Millisecond, connectLimit} {
						synctest.Test(t, func(t *testing.T) {
							n := &network{cuts: cuts(begins), takes: takes}
							if gone := judged(t, n, always, begins+2*long+30*time.Second); gone > 0 {
								t.Errorf("it begins after %s: live servers went after %s", begins, gone)
							}
						})
					}
				}
			})
		}
	}
}

// What was found out is forgotten when nobody asks any more.
func TestWhatWasFoundOutAnHourAgo(t *testing.T) {
	hourly := func(after time.Duration) bool { return after%time.Hour < 30*time.Second }
	for begins := -3 * time.Second; begins < 13*time.Second; begins += 1130 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			n := &network{takes: time.Millisecond, cuts: []cut{
				// One is alive at first, so all are held; an hour later all are.
				{0, 10 * time.Minute, func(ip netip.Addr) bool { return slices.Contains([]byte{2, 3, 4, 5, 6, 7}, ip.As4()[3]) }},
				{time.Hour + begins, time.Hour + begins + 5*time.Second, everybodyElse},
			}}
			if gone := judged(t, n, hourly, time.Hour+5*time.Minute); gone > 0 {
				t.Errorf("the outage begins after %s: live servers went after %s", begins, gone)
			}
		})
	}
}

// What is dead goes soon, also after an outage.
func TestTheDeadAreFound(t *testing.T) {
	for _, takes := range []time.Duration{time.Millisecond, connectLimit} {
		for name, tt := range map[string]struct {
			cuts   []cut
			within time.Duration
		}{
			"without an outage":                        {nil, 4 * time.Second},
			"an outage of everything else":             {[]cut{{0, 20 * time.Second, everybodyElse}}, 34 * time.Second},
			"an outage that begins after it was asked": {[]cut{{500 * time.Millisecond, 20 * time.Second, everybodyElse}}, 34 * time.Second},
		} {
			t.Run(fmt.Sprint(name, takes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := &network{cuts: tt.cuts, takes: takes, dead: map[netip.AddrPort]bool{}}
					for i := range byte(7) {
						n.dead[at(i+1)] = true
					}
					gone := judged(t, n, always, 3*time.Minute)
					if t.Logf("after %s", gone); gone == 0 || gone > tt.within {
						t.Errorf("what is dead goes after %s", gone)
					}
				})
			})
		}
	}
}

// Nobody on this machine stands up for the network, and everybody does for this machine.
func TestWhoStandsUp(t *testing.T) {
	for _, tt := range []struct {
		dead, alive netip.AddrPort
		want        guard.Answer
	}{
		{at(1), at(2), guard.Refused},
		{at(1), own(2), guard.Unproven},
		{own(1), own(2), guard.Refused},
		{own(1), at(2), guard.Refused},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, MostAtOnce)
			r.Here = thisHost
			r.servers.do(errRefused, tt.dead)
			r.Ask([]netip.AddrPort{tt.dead, tt.alive})
			r.pass(time.Minute)
			if got := r.Answer(tt.dead); got != tt.want {
				t.Errorf("%s beside %s is %d, want %d", tt.dead, tt.alive, got, tt.want)
			}
			if r.Ask([]netip.AddrPort{tt.dead, tt.alive}) {
				t.Error("something is to come")
			}
		})
	}
}

// However many are dead, all are found out in the end, and one that begins to fail later is, too, while those stay dead.
func TestManyAreDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce/5)
		r.servers.takes = connectLimit
		all := many(601)
		alive, late := all[0], all[1]
		r.servers.do(errRefused, all[2:]...)
		r.Ask(all)
		r.pass(time.Minute)
		count := func() (dead int) {
			for _, a := range all {
				if r.Answer(a) == guard.Refused {
					dead++
				}
			}
			return dead
		}
		if n := count(); n != len(all)-2 {
			t.Errorf("%d of %d are found dead", n, len(all)-2)
		}
		r.servers.do(errRefused, late)
		for range 10 {
			r.pass(10 * time.Second)
			if n := count(); n < len(all)-2 {
				t.Fatalf("only %d are dead still", n)
			}
		}
		if n := count(); n != len(all)-1 || r.Answer(alive) != guard.Answered {
			t.Errorf("%d of %d are found dead", n, len(all)-1)
		}
	})
}
