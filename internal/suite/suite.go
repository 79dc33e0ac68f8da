// Package suite sees to it that a conformance suite has run against all that it is for. Packages registrytest and
// gatewaytest are such suites.
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

// ran are the parts that suites of this test binary ran against.
var ran sync.Map

// Test is one test of a suite. H is what it is handed.
type Test[H any] struct {
	Name string
	Run  func(t *testing.T, h H)
}

// Run runs the tests against a part, and notes that. Each starts with a harness of its own.
func Run[H any](t *testing.T, against Part, start func(t *testing.T) H, tests []Test[H]) {
	t.Helper()
	ran.Store(against, true)
	for _, test := range tests {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, start(t)) })
	}
}

// Main runs the tests of a kind's package and looks for what outlives them. It returns the exit code, which is not 0
// where the suite has not run against each of the parts; that does not count where only some tests were asked for, and
// under -short what is real need not be there.
func Main(m *testing.M, suite string, parts ...Part) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	for _, part := range parts {
		if _, has := ran.Load(part); !has && whole() && (part != Real || !testing.Short()) {
			fmt.Fprintf(os.Stderr, "%s: the suite has not run against the %s\n", suite, part)
			return 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: something outlived the tests: %v\n", suite, err)
		return 1
	}
	return 0
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
