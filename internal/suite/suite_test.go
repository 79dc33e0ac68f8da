package suite

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// cases are suites that ran in part or not at all.
var cases = []struct {
	name    string
	part    Part
	run     func(t *testing.T)
	why     string
	excused bool
}{
	{"all of it ran", Double, func(t *testing.T) {
		Run(t, Double, func(*testing.T) int { return 1 }, tests(nothing))
	}, "", false},
	{"it was never called", Double, func(*testing.T) {}, "not all", false},
	{"all was skipped", Double, func(t *testing.T) {
		Run(t, Double, func(t *testing.T) int { t.Skip("not now"); return 1 }, tests(nothing))
	}, "not all", false},
	{"one was skipped", Double, func(t *testing.T) {
		Run(t, Double, func(*testing.T) int { return 1 }, tests(func(t *testing.T, _ int) { t.Skip("not now") }))
	}, "not all", false},
	{"the real one was skipped without a word", Real, func(t *testing.T) {
		Run(t, Real, func(t *testing.T) int { t.Skip("not now"); return 1 }, tests(nothing))
	}, "not all", false},
	{"the real one is not here", Real, func(t *testing.T) {
		Run(t, Real, func(t *testing.T) int { Absent(t, "no such binary"); return 1 }, tests(nothing))
	}, "no such binary", true},
	{"a double is always here", Double, func(t *testing.T) {
		Run(t, Double, func(t *testing.T) int { Absent(t, "no such binary"); return 1 }, tests(nothing))
	}, "not all", false},
}

func nothing(*testing.T, int) {}

func tests(second func(*testing.T, int)) []Test[int] {
	return []Test[int]{{"one", nothing}, {"two", second}}
}

// child is set to the name of a case in a process of its own: what is skipped there is skipped on purpose.
const child = "SUITE_TEST_CASE"

func TestMissing(t *testing.T) {
	for _, tt := range cases {
		if os.Getenv(child) == tt.name {
			t.Run("suite", tt.run)
			why, excused := missing(tt.part)
			fmt.Printf("missing: %q %v\n", why, excused)
			return
		}
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMissing$")
			c.Env = append(os.Environ(), child+"="+tt.name)
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var why string
			var excused bool
			_, said, _ := strings.Cut(string(out), "missing: ")
			if _, err := fmt.Sscanf(said, "%q %t", &why, &excused); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || excused != tt.excused {
				t.Errorf("%q, %v", why, excused)
			}
		})
	}
}
