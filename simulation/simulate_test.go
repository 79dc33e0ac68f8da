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
		virtual      atomic.Int64
		failed       atomic.Bool
		mu           sync.Mutex
		counts       = map[string]int{}
		broken       []outcome
	)
	next.Store(*from)
	stop := progress(&played, began)
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for !failed.Load() {
					seed := next.Add(1) - 1
					if seed >= *from+*seeds {
						return
					}
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

// progress says each half minute how far it is.
func progress(played *atomic.Uint64, began time.Time) (stop func()) {
	done := make(chan struct{})
	ticker := time.NewTicker(30 * time.Second)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintf(os.Stderr, "%d of %d seeds after %s\n", played.Load(), *seeds, time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

// TestReplay plays some seeds a hundred times: the same seed tells the same story.
func TestReplay(t *testing.T) {
	before := traceTail
	traceTail, keepTraces = 1<<20, true
	defer func() { traceTail, keepTraces = before, false }()
	for seed := uint64(1); seed <= 4; seed++ {
		first := simulate(t, seed)
		for n := range 99 {
			again := simulate(t, seed)
			if again.hash != first.hash {
				i := 0
				for i < min(len(first.last), len(again.last))-1 && first.last[i] == again.last[i] {
					i++
				}
				t.Fatalf("seed %d, time %d: %d lines with hash %016x, and at first %d with %016x\n%s\n\n%s", seed, n+2, again.lines, again.hash, first.lines, first.hash,
					strings.Join(first.last[max(0, i-10):i+1], "\n"), again.last[i])
			}
		}
	}
}
