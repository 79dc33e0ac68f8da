package guard

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// An instance is up, registered and critical, or gone.
type condition int

const (
	up condition = iota
	critical
	deregistered
)

// fleet is the instances of some services, by service and node.
type fleet [][]condition

func newFleet(services, nodes int) fleet {
	f := make(fleet, services)
	for s := range f {
		f[s] = make([]condition, nodes)
	}
	return f
}

func at(service, node int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(service), byte(node >> 8), byte(node)}), 80)
}

// seen is what a registry lists of the fleet.
func (f fleet) seen() upstream.Set {
	var list []upstream.Upstream
	var out []upstream.Out
	for s, nodes := range f {
		u := upstream.Upstream{Name: fmt.Sprintf("service-%02d", s)}
		registered := false
		for n, is := range nodes {
			switch is {
			case up:
				u.Servers = append(u.Servers, server(at(s, n)))
			case critical:
				out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Addr: at(s, n).String(), Reason: reason.Text("critical"), Unhealthy: true})
			}
			registered = registered || is != deregistered
		}
		if registered {
			list = append(list, u)
		}
	}
	return upstream.NewSet(list, out...)
}

// each makes one instance after the other, in an order that is made of a seed, what it is to be.
func (f fleet) order() [][2]int {
	var all [][2]int
	for s, nodes := range f {
		for n := range nodes {
			all = append(all, [2]int{s, n})
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// story is what happens to a fleet, and when.
type story struct {
	fleet  fleet
	events []event
	swaps  *[2]int // services that the registry takes for each other, once the story has begun
	second int     // the service that a second registry, s, lists; 0: none
}

type event struct {
	at   time.Duration
	make func(fleet)
	in   func(*Input) // what else the guard is told
}

func (s *story) when(at time.Duration, change func(fleet)) {
	s.events = append(s.events, event{at: at, make: change})
}

func (s *story) told(at time.Duration, in func(*Input)) {
	s.events = append(s.events, event{at: at, in: in})
}

// replay has the guard decide at every event and whenever it asks for it, until an hour after the last one.
// It returns the fewest servers that were in traffic, and the decision at the end.
func (s *story) replay(t *testing.T, c Config, each func(now time.Duration, d Decision)) (fewest int, last Decision) {
	t.Helper()
	slices.SortStableFunc(s.events, func(a, b event) int { return int(a.at - b.at) })
	accepted, history := s.listed(), History{}
	fewest = accepted.Servers()
	var err error
	now, again := time.Duration(0), time.Duration(0)
	end := s.events[len(s.events)-1].at + time.Hour
	for events := s.events; ; {
		next := end
		if len(events) > 0 {
			next = events[0].at
		}
		if again > 0 {
			next = min(next, now+again)
		}
		if now = next; now >= end {
			return fewest, last
		}
		in := Input{Accepted: accepted, History: history, Now: noon.Add(now)}
		for ; len(events) > 0 && events[0].at <= now; events = events[1:] {
			if events[0].make != nil {
				events[0].make(s.fleet)
			}
			if events[0].in != nil {
				events[0].in(&in)
			}
		}
		in.Seen = s.swapped(s.listed())
		if s.second > 0 && in.Seen.From("s").Usable() == 0 {
			in.Empty = []string{"s"}
		}
		last = c.Decide(in)
		accepted, again = last.Accepted, last.Again
		if history, err = ReadHistory(last.History.Lines(), in.Now, c.Window); err != nil { // as over a restart
			t.Fatal(err)
		}
		fewest = min(fewest, accepted.Servers())
		if each != nil {
			each(now, last)
		}
	}
}

// listed is what the registries list of the fleet.
func (s *story) listed() upstream.Set {
	set := s.fleet.seen()
	if s.second == 0 {
		return set
	}
	list := slices.Collect(set.All())
	for _, u := range list {
		if u.Name == fmt.Sprintf("service-%02d", s.second) {
			for i := range u.Servers {
				u.Servers[i].Origin = "s"
			}
		}
	}
	return upstream.NewSet(list, set.Out()...)
}

// swapped is a set in which two services have each other's servers.
func (s *story) swapped(set upstream.Set) upstream.Set {
	if s.swaps == nil {
		return set
	}
	list := slices.Collect(set.All())
	a, b := s.swaps[0], s.swaps[1]
	list[a].Servers, list[b].Servers = list[b].Servers, list[a].Servers
	return upstream.NewSet(list, set.Out()...)
}

// What befell fleets of 200 servers, "ready" all the while, when the guard compared two states that follow
// one another: fewer and fewer were left, as said behind each row.
func TestCatastrophes(t *testing.T) {
	const ms = time.Millisecond
	twenty := func() *story { return &story{fleet: newFleet(20, 10)} }
	spread := func(to condition) *story { // nine of ten within 300 ms, as 15 answers
		s := twenty()
		order := s.fleet.order()[:180]
		for i := range 15 {
			s.when(time.Duration(i)*20*ms, func(f fleet) {
				for _, o := range order[i*12 : (i+1)*12] {
					f[o[0]][o[1]] = to
				}
			})
		}
		return s
	}
	for _, tt := range []struct {
		name  string
		story func() *story
		least int // servers that must stay in traffic
	}{
		{"9 of 10 nodes critical, one each 300 ms", func() *story { // 20 left
			s := twenty()
			for n := range 9 {
				s.when(time.Duration(n)*300*ms, func(f fleet) {
					for service := range f {
						f[service][n] = critical
					}
				})
			}
			return s
		}, 100},
		{"90 % deregistered over 300 ms", func() *story { return spread(deregistered) }, 100}, // 20 left
		{"90 % critical over 300 ms", func() *story { return spread(critical) }, 100},         // 20 left
		{"a third gone each second", func() *story { // 1 left after 13 s
			s := twenty()
			order := s.fleet.order()
			for i := range 13 {
				n := max(len(order)/3, 1)
				now := order[:n]
				order = order[n:]
				s.when(time.Duration(i)*time.Second, func(f fleet) {
					for _, o := range now {
						f[o[0]][o[1]] = deregistered
					}
				})
			}
			return s
		}, 100},
		{"one instance each 30 ms", func() *story { // 1 left after 6 s
			s := twenty()
			for i, o := range s.fleet.order()[:199] {
				s.when(time.Duration(i)*30*ms, func(f fleet) { f[o[0]][o[1]] = deregistered })
			}
			return s
		}, 100},
		{"one service each 50 ms", func() *story { // 1 service left after 1 s
			s := twenty()
			for service := range 19 {
				s.when(time.Duration(service)*50*ms, func(f fleet) {
					for n := range f[service] {
						f[service][n] = deregistered
					}
				})
			}
			return s
		}, 100},
		{"all critical within 10 s", func() *story { // 20 left, each service's last
			s := twenty()
			for i, o := range s.fleet.order() {
				s.when(time.Duration(i)*50*ms, func(f fleet) { f[o[0]][o[1]] = critical })
			}
			return s
		}, 200 - 5*20},
		{"half of what is left critical, every 2 s", func() *story { // 20 left after 8 s
			s := twenty()
			from := 0
			for i, n := range []int{5, 3, 1} {
				from += n
				to := from
				s.when(time.Duration(i)*2*time.Second, func(f fleet) {
					for service := range f {
						for node := range to {
							f[service][node] = critical
						}
					}
				})
			}
			return s
		}, 100},
		{"one service of many loses 9 of 10", func() *story { // 191 left, 1 of that service
			s := twenty()
			s.when(0, func(f fleet) {
				for n := range 9 {
					f[7][n] = deregistered
				}
			})
			return s
		}, 200},
		{"a registry that comes back empty has half again before the first look", func() *story { // 100 left
			s := twenty()
			s.told(0, func(in *Input) {
				in.History.indexes, in.Indexes = map[string]uint64{"r": 400}, map[string]uint64{"r": 57}
			})
			s.when(0, func(f fleet) {
				for service := range 10 {
					for n := range f[service] {
						f[service][n] = deregistered
					}
				}
			})
			for service := range 10 {
				s.when(time.Duration(service+1)*6*time.Second, func(f fleet) { clear(f[service]) })
			}
			return s
		}, 200},
		{"a wiped registry, 8 agents registering again over a minute", func() *story { // 10 of 16 left
			s := &story{fleet: newFleet(2, 8)}
			lost := func(in *Input) { in.Away = map[string]time.Time{"r": in.Now} }
			s.told(2*time.Second, lost)
			s.when(2*time.Second, func(f fleet) {
				for service := range f {
					for n := 1; n < 8; n++ {
						f[service][n] = deregistered
					}
				}
			})
			for n := 1; n < 8; n++ {
				s.when(time.Duration(n)*8*time.Second, func(f fleet) { f[0][n], f[1][n] = up, up })
			}
			return s
		}, 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fewest, last := tt.story().replay(t, DefaultConfig(), nil)
			t.Logf("%d left at least, %d after an hour: %s", fewest, last.Accepted.Servers(), heldRules(last))
			if fewest < tt.least {
				t.Errorf("%d servers were left, want %d", fewest, tt.least)
			}
		})
	}
}

func heldRules(d Decision) string {
	var rules []string
	for _, h := range d.Holds {
		rules = append(rules, h.Reason.String())
	}
	return fmt.Sprint(rules)
}

// A hold while 12 instances flapped kept 56 servers that were really gone, for as long as the flapping went on.
func TestFlappingKeepsNothingElse(t *testing.T) {
	s := &story{fleet: newFleet(13, 10)}
	order := s.fleet.order()
	gone, flapping := order[:56], order[56:68]
	s.when(0, func(f fleet) {
		for _, o := range order[:68] {
			f[o[0]][o[1]] = deregistered
		}
	})
	_ = gone
	for i := range 180 { // each comes and goes by itself, so that most of them are out at any moment
		o := flapping[i%12]
		from := 5*time.Second + time.Duration(i)*10*time.Second
		s.when(from, func(f fleet) { f[o[0]][o[1]] = up })
		s.when(from+30*time.Second, func(f fleet) { f[o[0]][o[1]] = deregistered })
	}
	var left time.Duration
	s.replay(t, DefaultConfig(), func(now time.Duration, d Decision) {
		if left == 0 && d.Accepted.Servers() <= 130-56 {
			left = now
		}
	})
	if left == 0 || left > 10*time.Minute {
		t.Errorf("what was gone left after %s", left)
	}
	t.Log(left)
}
