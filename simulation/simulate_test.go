package simulation

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds = flag.Uint64("seeds", 100, "how many seeds are played")
	from  = flag.Uint64("from", 1, "the first of them")
	story = flag.Uint64("seed", 0, "one seed, whose last lines are printed")
	tail  = flag.Int("tail", 80, "how many of them")
	all   = flag.Bool("all", false, "go on after a failure, and list every seed that fails")

	replayed = flag.Uint64("replayed", 12, "how many seeds TestReplay plays")
	times    = flag.Int("times", 3, "how often it plays each of them")
	plays    = flag.Int("plays", 12, "how often it plays the first two")
)

// names are those of the design.
var names = []string{
	"the simulation itself",
	"unknown is not empty",
	"nothing that the guard held reaches the file or a gateway",
	"the file first, whole, and safe on the disk",
	"in sync when every worker says so; one gateway's trouble delays no other",
	"only what swallowkeeper wrote is changed or deleted",
	"nothing from a registry reaches a syntax unchecked",
	"no upstream without a server",
	"what is in sync is left alone",
	"every server, in or out, has a reason",
	"after a restart the conf file is the baseline",
	"an older plan never overwrites a newer one",
	"the data plane never needs us",
}

// TestSimulate plays seeds until one fails.
func TestSimulate(t *testing.T) {
	traceTail = *tail
	if *story > 0 {
		o := simulate(t, *story)
		fmt.Printf("%s\n\nseed %d: %d lines, hash %016x, %s\n", strings.Join(o.last, "\n"), o.seed, o.lines, o.hash, o.virtual)
		if o.failure != nil {
			t.Errorf("invariant %d (%s): %s", o.failure.invariant, names[o.failure.invariant], o.failure.text)
		}
		return
	}
	began := time.Now()
	var (
		next, played atomic.Uint64
		at           sync.Map // the seeds that are being played
		virtual      atomic.Int64
		failed       atomic.Bool
		mu           sync.Mutex
		counts       = map[string]int{}
		broken       []outcome
	)
	next.Store(*from)
	stop := progress(&played, &at, began)
	t.Run("seeds", func(t *testing.T) {
		for who := range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for !failed.Load() {
					seed := next.Add(1) - 1
					if seed >= *from+*seeds {
						return
					}
					at.Store(who, seed)
					o := simulate(t, seed)
					played.Add(1)
					virtual.Add(int64(o.virtual))
					mu.Lock()
					for what, n := range o.counts {
						counts[what] += n
					}
					if o.failure != nil {
						failed.Store(!*all)
						fmt.Printf("seed %d, invariant %d: %s\n", o.seed, o.failure.invariant, o.failure.text)
						broken = append(broken, o)
					}
					mu.Unlock()
				}
			})
		}
	})
	stop()
	var covered strings.Builder
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&covered, "  %10d  %s\n", counts[what], what)
	}
	fmt.Printf("%d seeds in %s, %s of the world's time:\n%s", played.Load(), time.Since(began).Round(time.Second), time.Duration(virtual.Load()).Round(time.Hour), covered.String())
	if len(broken) == 0 && played.Load() >= enough {
		scarce(t, counts, played.Load())
	}
	slices.SortFunc(broken, func(a, b outcome) int { return cmp.Compare(a.seed, b.seed) })
	for _, o := range broken {
		if *all {
			t.Errorf("seed %d fails", o.seed)
			continue
		}
		t.Errorf("seed %d, invariant %d (%s): %s\n%s\nplay it again: go test ./simulation -run TestSimulate -count 1 -args -seed %d",
			o.seed, o.failure.invariant, names[o.failure.invariant], o.failure.text, strings.Join(o.last, "\n"), o.seed)
	}
}

// What happens in a thousand worlds at least, far below what is usual: whoever makes a kind of trouble vanish by mistake
// is told. Each incident is there besides, at least often times.
var least = map[string]int{
	"generation": 2000, "write": 3000, "removal": 900, "removal within a window": 700, "large step": 1, "post": 9000, "in sync": 17000,
	"a generation that has to be there by now": 300, "kill at a turn": 150, "power cut": 70, "approved": 30, "frozen": 70, "unfrozen": 10, "rolled back": 30,
	"a daemon takes over what another process wrote": 400, "the conf file takes another form": 60,
	"a route that goes or moves": 200, "a route that has to be there": 2000,
	"event: held": 2000, "event: hold_ended": 900, "event: proven": 35, "event: out_of_step": 200, "event: store_failed": 400,
	"event: no_healthy_server": 700, "event: healthy_again": 500,
}

const (
	often  = 100
	enough = 5000 // worlds, for what is rare to happen
)

func scarce(t *testing.T, counts map[string]int, played uint64) {
	want := maps.Clone(least)
	for _, i := range incidents {
		want[i.name] = often
	}
	for _, what := range slices.Sorted(maps.Keys(want)) {
		if n := counts[what]; float64(n) < float64(want[what])*float64(played)/1000 {
			t.Errorf("%q: %d times in %d worlds, at least %d in a thousand are expected", what, n, played, want[what])
		}
	}
}

// progress says each half minute how far it is, and which seed takes long: it may hang.
func progress(played *atomic.Uint64, at *sync.Map, began time.Time) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(30 * time.Second)
	go func() {
		before := map[any]any{}
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintf(os.Stderr, "%d of %d seeds after %s\n", played.Load(), *seeds, time.Since(began).Round(time.Second))
				at.Range(func(who, seed any) bool {
					if before[who] == seed {
						fmt.Fprintf(os.Stderr, "seed %d takes more than half a minute\n", seed)
					}
					before[who] = seed
					return true
				})
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}
