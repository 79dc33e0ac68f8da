package simulation

import (
	"runtime"
	"strings"
	"testing"
)

// TestReplay plays seeds again and again, on one processor and on several, and with everybody held up at random: the same
// seed tells the same story.
func TestReplay(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	defer func(tail int) { traceTail, keepTraces, shaken = tail, false, false }(traceTail)
	traceTail, keepTraces, shaken = 1<<20, true, true
	replay := func(seed uint64, times int) {
		first := simulate(t, seed)
		for n := range times - 1 {
			runtime.GOMAXPROCS([]int{1, 2, 4}[n%3])
			if again := simulate(t, seed); again.hash != first.hash {
				t.Errorf("seed %d, time %d: %s", seed, n+2, parting(first.last, again.last))
				return
			}
		}
	}
	for seed := range *replayed {
		replay(*from+seed, *times)
	}
	for seed := range uint64(2) {
		replay(*from+seed, *plays)
	}
}

// parting is where two stories part, with what came before.
func parting(a, b []string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	tail := func(lines []string) string { return strings.Join(lines[i:min(i+3, len(lines))], "\n") }
	return strings.Join(a[max(0, i-12):i], "\n") + "\nthe first time:\n" + tail(a) + "\nand then:\n" + tail(b)
}
