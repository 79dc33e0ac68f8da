package guard

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"swallowkeeper/internal/golden"
)

// The corpus is stories that are made of seeds: catastrophes, in which every server is alive all the while, and work.
// A catastrophe has reached a gateway when fewer of the first servers were in traffic, at any moment, than its kind must
// leave, or more servers than it may bring. Work was held for too long when a hold lasted longer than the recovery, or
// when in the end another set was in traffic than the registry listed.

var allOfCorpus = flag.Bool("all", false, "all of the ordinary states, and their figures in docs/guard.md")

const (
	catastrophes  = 300
	ordinaryAll   = 10_000
	ordinaryShort = 300
)

// catastrophe is a story, and how many servers must stay in traffic, and may be there at most.
type catastrophe struct {
	*story
	least, most int
}

type pair = [2]int

// lot draws a fleet.
func lot(r *rand.Rand) (*story, int) {
	services, nodes := 4+r.IntN(9), 6+r.IntN(7)
	return &story{fleet: newFleet(services, nodes)}, services * nodes
}

func shuffled(r *rand.Rand, f fleet) []pair {
	all := f.order()
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (s *story) to(at time.Duration, list []pair, is condition) {
	s.when(at, func(f fleet) {
		for _, o := range list {
			f[o[0]][o[1]] = is
		}
	})
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

func half(n int) int { return (n + 1) / 2 }

// lapses has the registry's index go backwards: it lost its state.
func (s *story) lapses(at time.Duration) {
	s.told(at, func(in *Input) { in.Indexes = map[string]uint64{"r": 7} })
}

var catastrophic = []struct {
	kind string
	make func(*rand.Rand) catastrophe
}{
	{"a bleed, fast or slow", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		order := shuffled(r, s.fleet)
		gone := order[:int(float64(n)*(0.55+0.45*r.Float64()))]
		to, each, chunk := condition(1+r.IntN(2)), between(r, time.Millisecond, 4*time.Second), 1+r.IntN(6)
		for i, c := range slices.Collect(slices.Chunk(gone, chunk)) {
			if time.Duration(i)*each < 9*time.Minute { // within the window
				s.to(time.Duration(i)*each, c, to)
			}
		}
		return catastrophe{s, half(n), n}
	}},
	{"one node after the other", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		each, to := between(r, 20*time.Millisecond, 20*time.Second), condition(1+r.IntN(2))
		for node := range s.fleet[0][1:] {
			s.when(time.Duration(node)*each, func(f fleet) {
				for service := range f {
					f[service][node] = to
				}
			})
		}
		return catastrophe{s, half(n), n}
	}},
	{"a share of what is left, again and again", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		left, share, each := shuffled(r, s.fleet), 0.2+0.3*r.Float64(), between(r, 100*time.Millisecond, 10*time.Second)
		for i := 0; len(left) > 1; i++ {
			k := max(1, int(float64(len(left))*share))
			s.to(time.Duration(i)*each, left[:k], deregistered)
			left = left[k:]
		}
		return catastrophe{s, half(n), n}
	}},
	{"one service after the other", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		each := between(r, 10*time.Millisecond, 10*time.Second)
		for service := range s.fleet[1:] {
			s.when(time.Duration(service)*each, func(f fleet) {
				for node := range f[service] {
					f[service][node] = deregistered
				}
			})
		}
		return catastrophe{s, half(n), n}
	}},
	{"one service of many loses most", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		nodes := len(s.fleet[0])
		lost := nodes*3/4 + 1 + r.IntN(max(1, nodes/4-1))
		s.when(0, func(f fleet) {
			for node := range min(lost, nodes-1) {
				f[1][node] = deregistered
			}
		})
		return catastrophe{s, n, n}
	}},
	{"a restore in pieces, before the first look", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		order := shuffled(r, s.fleet)
		gone := order[:1+r.IntN(n-1)]
		s.told(0, func(in *Input) {
			in.History.indexes, in.Indexes = map[string]uint64{"r": 400}, map[string]uint64{"r": 57}
		})
		s.to(0, gone, deregistered)
		for i, c := range slices.Collect(slices.Chunk(gone, 1+r.IntN(8))) {
			s.to(time.Duration(i+1)*time.Second, c, up)
		}
		return catastrophe{s, n, n}
	}},
	{"a wiped registry, agents registering again", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		s.told(0, func(in *Input) { in.Away = map[string]time.Time{"r": in.Now} })
		order := shuffled(r, s.fleet)
		s.to(0, order, deregistered)
		for i, c := range slices.Collect(slices.Chunk(order, 1+r.IntN(4))) {
			s.to(time.Duration(i+1)*between(r, 100*time.Millisecond, 2*time.Second), c, up)
		}
		return catastrophe{s, n, n}
	}},
	{"a stale state, then the present one", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		gone := shuffled(r, s.fleet)[:1+r.IntN(n/2)]
		s.told(0, func(in *Input) { in.Indexes = map[string]uint64{"r": 400} })
		s.when(0, func(fleet) {})
		s.lapses(time.Minute)
		s.to(time.Minute, gone, deregistered)
		s.to(time.Minute+between(r, time.Second, 170*time.Second), gone, up)
		return catastrophe{s, n, n}
	}},
	{"partial lists", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		for i := range 1 + r.IntN(5) {
			gone := shuffled(r, s.fleet)[:n/2+1+r.IntN(n/2)]
			at := time.Duration(i) * 20 * time.Second
			s.to(at, gone, deregistered)
			s.to(at+between(r, time.Millisecond, 19*time.Second), gone, up)
		}
		return catastrophe{s, n, n}
	}},
	{"an empty list", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		order := shuffled(r, s.fleet)
		s.to(0, order, deregistered)
		s.to(between(r, time.Millisecond, 30*time.Minute), order, up)
		return catastrophe{s, n, n}
	}},
	{"doubled input", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		times := 4 + r.IntN(8)
		wide := len(s.fleet[0]) * times
		for service := range s.fleet {
			nodes := make([]condition, wide)
			for node := len(s.fleet[service]); node < wide; node++ {
				nodes[node] = deregistered
			}
			s.fleet[service] = nodes
		}
		order, each := slices.DeleteFunc(shuffled(r, s.fleet), func(o pair) bool { return o[1] < n/len(s.fleet) }), between(r, time.Millisecond, time.Second)
		for i, c := range slices.Collect(slices.Chunk(order, len(order)/(1+r.IntN(20))+1)) {
			s.to(time.Duration(i)*each, c, up)
		}
		return catastrophe{s, n, 3 * n}
	}},
	{"swapped services", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		a, b := r.IntN(2), 2+r.IntN(len(s.fleet)-2)
		s.swaps = &pair{a, b}
		s.when(0, func(fleet) {})
		s.when(between(r, time.Second, time.Hour), func(fleet) {})
		return catastrophe{s, n, n}
	}},
	{"most of one service turns unhealthy", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		nodes := len(s.fleet[0])
		sick := nodes/2 + 1 + r.IntN(max(1, nodes*3/4-nodes/2))
		service, first := r.IntN(len(s.fleet)), r.IntN(nodes)
		s.when(0, func(f fleet) {
			for node := range sick {
				f[service][(first+node)%nodes] = critical
			}
		})
		return catastrophe{s, n, n}
	}},
	{"the list of another place, for a while", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		here := s.fleet.order()
		nodes := len(s.fleet[0])
		s.spares(nodes)
		var there []pair
		for _, o := range here {
			there = append(there, pair{o[0], o[1] + nodes})
		}
		s.to(0, here, deregistered)
		s.to(0, there, up)
		back := between(r, time.Millisecond, 170*time.Second)
		s.to(back, here, up)
		s.to(back, there, deregistered)
		return catastrophe{s, n, 2 * n}
	}},
	{"an empty list in a small place", func(r *rand.Rand) catastrophe {
		s := &story{fleet: newFleet(1+r.IntN(3), 1)}
		order := s.fleet.order()
		s.to(0, order, condition(1+r.IntN(2)))
		s.to(between(r, time.Millisecond, 30*time.Minute), order, up)
		return catastrophe{s, len(order), len(order)}
	}},
	{"one registry of two lists nothing", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		s.second = 1 + r.IntN(len(s.fleet)-1)
		var theirs []pair
		for node := range s.fleet[s.second] {
			theirs = append(theirs, pair{s.second, node})
		}
		s.to(0, theirs, deregistered)
		s.to(between(r, time.Millisecond, 30*time.Minute), theirs, up)
		return catastrophe{s, n, n}
	}},
	{"flapping halves", func(r *rand.Rand) catastrophe {
		s, n := lot(r)
		order, each, to := shuffled(r, s.fleet), between(r, 100*time.Millisecond, 30*time.Second), condition(1+r.IntN(2))
		a, b := order[:n/2], order[n/2:]
		for i := range 4 + r.IntN(12) {
			out, in := a, b
			if i%2 == 1 {
				out, in = b, a
			}
			s.to(time.Duration(i)*each, out, to)
			s.to(time.Duration(i)*each, in, up)
		}
		return catastrophe{s, half(n), n}
	}},
}

var work = []struct {
	kind string
	make func(*rand.Rand) *story
}{
	{"a rolling deploy", func(r *rand.Rand) *story {
		s, _ := lot(r)
		nodes := len(s.fleet[0])
		s.spares(nodes)
		width, first, gone, step := 1+r.IntN(nodes), r.IntN(2) == 0, condition(1+r.IntN(2)), between(r, 100*time.Millisecond, 20*time.Second)
		at := time.Duration(0)
		for service := range s.fleet {
			if r.IntN(2) == 0 && service > 0 {
				continue
			}
			for from := 0; from < nodes; from += width {
				var old, next []pair
				for n := from; n < min(from+width, nodes); n++ {
					old, next = append(old, pair{service, n}), append(next, pair{service, nodes + n})
				}
				if first {
					s.to(at, next, up)
					s.to(at+step, old, gone)
				} else {
					s.to(at, old, gone)
					s.to(at+step, next, up)
				}
				s.to(at+step*3/2, old, deregistered)
				at += 2 * step
			}
		}
		return s
	}},
	{"blue and green", func(r *rand.Rand) *story {
		s, _ := lot(r)
		nodes, service := len(s.fleet[0]), r.IntN(len(s.fleet))
		s.spares(nodes)
		for n := range nodes {
			s.to(between(r, 0, time.Minute), []pair{{service, nodes + n}}, up)
			s.to(between(r, 2*time.Minute, 4*time.Minute), []pair{{service, n}}, deregistered)
		}
		return s
	}},
	{"an autoscaler", func(r *rand.Rand) *story {
		s, _ := lot(r)
		nodes := len(s.fleet[0])
		s.spares(nodes)
		busy, down := r.IntN(len(s.fleet)), between(r, 20*time.Minute, 2*time.Hour)
		for n := range nodes {
			s.to(time.Duration(n)*20*time.Second, []pair{{busy, nodes + n}}, up)
			s.to(down+time.Duration(n)*20*time.Second, []pair{{busy, nodes + n}}, deregistered)
		}
		return s
	}},
	{"a node is lost", func(r *rand.Rand) *story {
		s, _ := lot(r)
		return s.loses(r, 1)
	}},
	{"a zone of three is lost", func(r *rand.Rand) *story {
		s, _ := lot(r)
		return s.loses(r, len(s.fleet[0])/3)
	}},
	{"a canary", func(r *rand.Rand) *story {
		s, _ := lot(r)
		s.fleet = append(s.fleet, make([]condition, 1+r.IntN(3)))
		canary := len(s.fleet) - 1
		var all []pair
		for n := range s.fleet[canary] {
			s.fleet[canary][n] = deregistered
			all = append(all, pair{canary, n})
		}
		s.to(0, all, up)
		s.to(between(r, time.Second, time.Hour), all, deregistered)
		return s
	}},
	{"a service is renamed", func(r *rand.Rand) *story {
		s, _ := lot(r)
		nodes := len(s.fleet[0])
		s.fleet = append(s.fleet, make([]condition, nodes))
		last, old := len(s.fleet)-1, r.IntN(len(s.fleet)-1)
		each := between(r, time.Millisecond, 5*time.Second)
		for n := range nodes {
			s.fleet[last][n] = deregistered
			s.to(time.Duration(n)*each, []pair{{last, n}}, up)
			s.to(time.Duration(n)*each+each/2, []pair{{old, n}}, deregistered)
		}
		return s
	}},
	{"a job runs again and again", func(r *rand.Rand) *story {
		s, _ := lot(r)
		s.fleet = append(s.fleet, make([]condition, 1+r.IntN(8)))
		job := len(s.fleet) - 1
		var all []pair
		for n := range s.fleet[job] {
			s.fleet[job][n] = deregistered
			all = append(all, pair{job, n})
		}
		each := between(r, time.Minute, 15*time.Minute)
		for i := range 2 + r.IntN(6) {
			s.to(time.Duration(i)*each, all, up)
			s.to(time.Duration(i)*each+between(r, time.Second, each/2), all, deregistered)
		}
		return s
	}},
	{"a service is scaled to zero", func(r *rand.Rand) *story {
		s, _ := lot(r)
		service, each := r.IntN(len(s.fleet)), between(r, time.Millisecond, time.Minute)
		for n := range s.fleet[service] {
			s.to(time.Duration(n)*each, []pair{{service, n}}, deregistered)
		}
		return s
	}},
	{"one instance crashes again and again", func(r *rand.Rand) *story {
		s, n := lot(r)
		one := shuffled(r, s.fleet)[r.IntN(n)]
		each := between(r, time.Second, time.Minute)
		for i := range 2 * (1 + r.IntN(8)) {
			s.to(time.Duration(i)*each, []pair{one}, condition((i+1)%2))
		}
		return s
	}},
}

// spares adds as many places for instances as there are, with nothing in them.
func (s *story) spares(nodes int) {
	for service := range s.fleet {
		for range nodes {
			s.fleet[service] = append(s.fleet[service], deregistered)
		}
	}
}

// loses has some nodes go, and perhaps come back.
func (s *story) loses(r *rand.Rand, nodes int) *story {
	from := r.IntN(len(s.fleet[0]) - nodes + 1)
	var all []pair
	for service := range s.fleet {
		for n := from; n < from+nodes; n++ {
			all = append(all, pair{service, n})
		}
	}
	is := condition(1 + r.IntN(2))
	within := between(r, time.Millisecond, time.Minute)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, o := range all {
		s.to(within*time.Duration(i)/time.Duration(len(all)), []pair{o}, is)
	}
	switch r.IntN(3) {
	case 0:
		s.to(within+between(r, time.Second, time.Hour), all, up)
	case 1:
		s.to(within+between(r, time.Second, time.Hour), all, deregistered)
	}
	return s
}

// reached says what of a catastrophe reached the gateways, "" for nothing.
func (c catastrophe) reached(t *testing.T) string {
	first, most := c.listed(), 0
	fewest := first.Servers()
	c.replay(t, DefaultConfig(), func(_ time.Duration, d Decision) {
		fewest = min(fewest, first.Servers()-len(Gone(first, d.Accepted)))
		most = max(most, d.Accepted.Servers())
	})
	if fewest < c.least || most > c.most {
		return fmt.Sprintf("%d to %d servers were in traffic, allowed are %d to %d", fewest, most, c.least, c.most)
	}
	return ""
}

// held says what of work was held for too long, "" for nothing.
func (s *story) held(t *testing.T) (why string) {
	c := DefaultConfig()
	since := map[string]time.Duration{}
	_, last := s.replay(t, c, func(now time.Duration, d Decision) {
		is := map[string]time.Duration{}
		for _, h := range d.Holds {
			scope := h.Rule + h.Upstream
			is[scope] = now
			if began, was := since[scope]; was {
				is[scope] = began
			}
			if now-is[scope] > c.Recovery && why == "" {
				why = fmt.Sprintf("held for %s: %s", now-is[scope], h.Reason)
			}
		}
		since = is
	})
	if want := s.fleet.seen(); why == "" && (!last.Accepted.Equal(want) || len(last.Holds) > 0) {
		why = fmt.Sprintf("%d servers are in traffic in the end, of %d; held: %s", last.Accepted.Servers(), want.Servers(), Reasons(last.Holds))
	}
	return why
}

// tell plays some stories on all cores, and returns what is wrong with which, by number.
func tell(many int, play func(n int) string) map[int]string {
	var mu sync.Mutex
	wrong := map[int]string{}
	var all sync.WaitGroup
	for core := range 8 {
		all.Go(func() {
			for n := core; n < many; n += 8 {
				if why := play(n); why != "" {
					mu.Lock()
					wrong[n] = why
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return wrong
}

func TestCorpus(t *testing.T) {
	random := func(n int, kind uint64) *rand.Rand { return rand.New(rand.NewPCG(uint64(n), kind)) }
	reached := tell(catastrophes, func(n int) string {
		k := catastrophic[n%len(catastrophic)]
		if why := k.make(random(n, 1)).reached(t); why != "" {
			return k.kind + ": " + why
		}
		return ""
	})
	for n, why := range reached {
		t.Errorf("catastrophe %d, %s", n, why)
	}
	many := ordinaryShort
	if *allOfCorpus {
		many = ordinaryAll
	}
	held := tell(many, func(n int) string {
		k := work[n%len(work)]
		if why := k.make(random(n, 2)).held(t); why != "" {
			return k.kind + ": " + why
		}
		return ""
	})
	if len(held) > 1 {
		for n, why := range held {
			t.Errorf("ordinary state %d, %s", n, why)
		}
	}
	if *allOfCorpus {
		golden.Section(t, "../docs/guard.md", "<!-- corpus -->\n| | |\n| --- | --- |\n", "<!-- end of corpus -->", fmt.Sprintf("| Catastrophes in which a wrong state reached a gateway | %d of %d |\n| Ordinary work that was held for longer than the recovery | %d of %d |\n",
			len(reached), catastrophes, len(held), ordinaryAll))
	}
}
