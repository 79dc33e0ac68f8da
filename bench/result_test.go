package bench

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func report(results ...Result) *Report { return &Report{Results: results} }

func one(figure, program, way string, services int, value float64) Result {
	return Result{figure, program, way, services, value, nil}
}

func TestGoals(t *testing.T) {
	first := figures[0]
	written := figures[4]
	for _, c := range []struct {
		name      string
		figure    figure
		way       string
		services  int
		report    *Report
		want, met string
	}{
		{"met", first, HTTPS, 1000, report(one("first", Floor, HTTPS, 1000, 2), one("first", Ours, HTTPS, 1000, 3)), "≤ 1.5 × floor", "yes"},
		{"missed", first, HTTPS, 1000, report(one("first", Floor, HTTPS, 1000, 2), one("first", Ours, HTTPS, 1000, 3.1)), "≤ 1.5 × floor", "**no**"},
		{"another way's floor", first, HTTPS, 1000, report(one("first", Floor, Plain, 1000, 2), one("first", Ours, HTTPS, 1000, 3)), "≤ 1.5 × floor", "?"},
		{"an amount", written, Plain, 5000, report(one("change-written", Ours, Plain, 5000, 100)), "≤ 100 kB", "yes"},
		{"too much", written, Plain, 5000, report(one("change-written", Ours, Plain, 5000, 101)), "≤ 100 kB", "**no**"},
		{"that of before does not count", written, Plain, 5000, report(one("change-written", Base, Plain, 5000, 1)), "≤ 100 kB", ""},
		{"no goal", written, Plain, 50, report(one("change-written", Ours, Plain, 50, 1)), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if want, met := c.report.judged(c.figure, c.way, c.services); want != c.want || met != c.met {
				t.Errorf("%q %q, want %q %q", want, met, c.want, c.met)
			}
		})
	}
	known := map[string]bool{}
	for _, f := range figures {
		known[f.key] = true
	}
	for _, g := range goals() {
		if !known[g.figure] {
			t.Errorf("no figure %s", g.figure)
		}
	}
}

func TestAmount(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 0.0444: "0.044", 4: "4", 4.04: "4", 4.16: "4.2", 12.34: "12.3", 123.4: "123", 1234: "1,234", 49009: "49,009"} {
		if got := Amount(value); got != want {
			t.Errorf("%g is %q, want %q", value, got, want)
		}
	}
}

func TestPercentile(t *testing.T) {
	samples := []float64{3, 1, 2, 4}
	for p, want := range map[int]float64{0: 1, 50: 3, 99: 4, 100: 4} {
		if got := Percentile(samples, p); got != want {
			t.Errorf("p%d is %g, want %g", p, got, want)
		}
	}
	if got := Percentile(nil, 50); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}

func TestMerge(t *testing.T) {
	r := report(one("first", Ours, HTTPS, 10, 1), one("last", Ours, HTTPS, 10, 2))
	r.Merge(report(one("first", Ours, HTTPS, 10, 3), one("first", Base, HTTPS, 10, 4)))
	for _, c := range []struct {
		figure, program string
		want            float64
	}{{"first", Ours, 3}, {"last", Ours, 2}, {"first", Base, 4}} {
		if got, ok := r.Value(c.figure, c.program, HTTPS, 10); !ok || got != c.want {
			t.Errorf("%s of %s: %g, %t", c.figure, c.program, got, ok)
		}
	}
	if len(r.Results) != 3 {
		t.Errorf("%+v", r.Results)
	}
}

func TestWriteAndRead(t *testing.T) {
	for _, r := range []*Report{report(), report(one("first", Ours, HTTPS, 10, 1), Result{"last", Ours, HTTPS, 10, 2, []float64{1, 2.5}})} {
		r.Commit, r.Long = "abc", true
		var text bytes.Buffer
		if err := r.Write(&text); err != nil {
			t.Fatal(err)
		}
		got, err := Read(&text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestThePageHasTheResults: the table in the documentation is that of the results beside it.
func TestThePageHasTheResults(t *testing.T) {
	f, err := os.Open("../docs/bench.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := r.Table(&table); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/performance.md has another table than docs/bench.json: run scripts/bench.sh --keep")
	}
}

// TestChanged: what a start writes is noticed.
func TestChanged(t *testing.T) {
	at := time.Now()
	before := map[string]time.Time{"a": at, "b": at}
	for name, c := range map[string]struct {
		now  map[string]time.Time
		want int
	}{
		"nothing":      {map[string]time.Time{"a": at, "b": at}, 0},
		"written anew": {map[string]time.Time{"a": at, "b": at.Add(time.Millisecond)}, 1},
		"new":          {map[string]time.Time{"a": at, "b": at, "c": at}, 1},
		"gone":         {map[string]time.Time{"a": at}, 1},
	} {
		if got := changed(before, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestCompare: what a worker has is compared server by server.
func TestCompare(t *testing.T) {
	want := map[string]map[string]bool{"a": {"10.0.0.1:1": true, "10.0.0.2:1": true}, "b": {"10.0.0.3:1": true}}
	const good = "nobody\nserver 127.0.0.1:9 weight=1\n\na\nserver 10.0.0.1:1 weight=1\nserver 10.0.0.2:1 weight=1\n\nb\nserver 10.0.0.3:1 weight=1\n\n"
	if why := compare(good, want); why != "" {
		t.Error(why)
	}
	for name, detail := range map[string]string{
		"an old server": strings.Replace(good, "10.0.0.2", "10.0.0.9", 1),
		"one too few":   strings.Replace(good, "server 10.0.0.2:1 weight=1\n", "", 1),
		"one too many":  good[:len(good)-1] + "server 10.0.0.1:1 weight=1\n",
		"none":          "",
		"one missing":   good[:strings.Index(good, "\n\nb")],
	} {
		if compare(detail, want) == "" {
			t.Errorf("%s was not noticed", name)
		}
	}
}
