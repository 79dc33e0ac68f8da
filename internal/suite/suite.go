// Package suite makes sure that a conformance suite has run against every implementation that it is meant for. Packages
// registrytest and gatewaytest are such suites.
package suite

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Part says what a suite runs against.
type Part string

// The parts. A kind that has a double, in a folder of its name with test behind it, passes its suite with both.
const (
	Double Part = "double"
	Real   Part = "real"
)

// ran are the parts that suites of this test binary ran against, each test to its end.
var ran sync.Map

// absent is why the real thing is not on this machine.
var absent struct {
	sync.Mutex
	why string
}

// Test is one test of a suite. H is what it is handed.
type Test[H any] struct {
	Name string
	Run  func(t *testing.T, h H)
}

// Run runs the tests against a part. Where none was skipped it notes that. Each test gets a harness of its own.
func Run[H any](t *testing.T, against Part, start func(t *testing.T) H, tests []Test[H]) {
	t.Helper()
	ended := 0
	for _, test := range tests {
		t.Run(test.Name, func(t *testing.T) {
			test.Run(t, start(t))
			ended++ // one that is skipped does not come this far
		})
	}
	if ended == len(tests) {
		ran.Store(against, true)
	}
}

// Absent skips a test whose real thing is not on this machine, and says why. Then [Main] only mentions that the suite has
// not run against it.
func Absent(t testing.TB, why string) {
	t.Helper()
	absent.Lock()
	absent.why = why
	absent.Unlock()
	t.Skip(why)
}

// Main runs the tests of a kind's package and looks for what outlives them. It returns the exit code, which is not 0
// where the suite has not run, whole, against each of the parts; that does not count where only some tests were asked
// for, and what is real need not be there under -short, or where [Absent] said so.
func Main(m *testing.M, suite string, parts ...Part) int {
	if code := m.Run(); code != 0 {
		return code
	}
	for _, part := range parts {
		if why, excused := missing(part); why != "" && whole() {
			fmt.Fprintf(os.Stderr, "%s: the suite has not run against the %s%s\n", suite, part, why)
			if !excused {
				return 1
			}
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: something outlived the tests: %v\n", suite, err)
		return 1
	}
	return 0
}

// missing says why the suite has not run against a part, "" where it has, and whether that may be.
func missing(part Part) (why string, excused bool) {
	if _, has := ran.Load(part); has {
		return "", false
	}
	absent.Lock()
	defer absent.Unlock()
	switch {
	case part != Real:
		return ", or not all of it", false
	case testing.Short():
		return ": -short", true
	case absent.why != "":
		return ": " + absent.why, true
	}
	return ", or not all of it", false
}

// whole reports whether all tests were asked for.
func whole() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" && f.Value.String() != "false" {
			return false
		}
	}
	return true
}
