// Package allocated measures the allocations of a function for tests. Unlike the running time, they do not depend on
// the machine.
package allocated

import (
	"runtime"
	"testing"
)

// Memory is the average number and bytes of allocations.
type Memory struct{ Times, Bytes float64 }

// By measures a function over a number of runs, after a first one that does not count.
func By(runs int, f func()) Memory {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // allocations of other goroutines count too
	f()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return Memory{
		Times: float64(after.Mallocs-before.Mallocs) / float64(runs),
		Bytes: float64(after.TotalAlloc-before.TotalAlloc) / float64(runs),
	}
}

// Flat fails a test if something allocates more than twice as much for many things as for few.
func Flat(t *testing.T, what string, few, many Memory) {
	t.Helper()
	if many.Times > 2*few.Times || many.Bytes > 2*few.Bytes+4096 { // a list of chunks is longer, and is copied
		t.Errorf("%s allocates %.0f times and %.0f bytes of many, and %.0f times and %.0f bytes of few",
			what, many.Times, many.Bytes, few.Times, few.Bytes)
	}
}
