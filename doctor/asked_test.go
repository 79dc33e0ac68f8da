package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swallowkeeper/doctor"
)

func contextFor(t *testing.T, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), limit)
}

func TestAsked(t *testing.T) {
	gateway := func(change func(*doctor.Gateway)) doctor.Facts {
		f := testFacts("/etc/nginx")
		change(&f.Gateways[0])
		return f
	}
	registry := func(change func(*doctor.Registry)) doctor.Facts {
		r := doctor.Registry{Name: "dc"}
		change(&r)
		return doctor.Facts{Registries: []doctor.Registry{r}}
	}
	trap := doctor.Finding{Check: "trap", Severity: doctor.Problem, What: "a trap", Places: []string{"service web", "service api"}}
	for _, c := range []struct {
		name  string
		facts doctor.Facts
		want  string // severity, check and a part of the text; "" for nothing
	}{
		{"a good gateway", gateway(func(*doctor.Gateway) {}), ""},
		{"a gateway that is down", gateway(func(g *doctor.Gateway) { g.Err = errors.New("refused") }), "not examined|gateway-unread|refused"},
		{"how it is asked", gateway(func(g *doctor.Gateway) { g.Err = errors.New("x") }), "not examined|gateway-unread|curl -si http://127.0.0.1:18882/list"},
		{"no header", gateway(func(g *doctor.Gateway) { g.Findings = headless }), "warning|worker-header|add_header"},
		{"a clock 4 s ahead", gateway(func(g *doctor.Gateway) { g.Ahead = 4 * time.Second }), ""},
		{"a clock ahead", gateway(func(g *doctor.Gateway) { g.Ahead = time.Minute }), "warning|clock|1m0s ahead of"},
		{"an upstream of somebody's", gateway(func(g *doctor.Gateway) { g.Upstreams = []string{"web", "mine", "Shop"} }), "problem|duplicate|Shop"},
		{"how it is taken out", gateway(func(g *doctor.Gateway) { g.Upstreams = []string{"Shop"} }), "problem|duplicate|by hand: curl -X DELETE http://127.0.0.1:18882/upstream/Shop"},
		{"of a gateway that has no way", gateway(func(g *doctor.Gateway) { g.Upstreams, g.Remove = []string{"Shop"}, nil }), "problem|duplicate|Rename the upstream"},
		{"upstreams of ours and his", gateway(func(g *doctor.Gateway) { g.Upstreams = []string{"web", "mine"} }), ""},
		{"a trap of its own", gateway(func(g *doctor.Gateway) { g.Findings = []doctor.Finding{trap} }), "problem|trap|gateway edge: service web"},

		{"a good registry", registry(func(*doctor.Registry) {}), ""},
		{"a registry that is down", registry(func(r *doctor.Registry) { r.Err = errors.New("no route") }), "not examined|registry-unread|no route"},
		{"a clock behind", registry(func(r *doctor.Registry) { r.Ahead = -10 * time.Second }), "warning|clock|10s behind"},
		{"what it says of itself", registry(func(r *doctor.Registry) { r.Findings = []doctor.Finding{trap} }), "problem|trap|registry dc: service api"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := doctor.Examine(c.facts)
			if c.want == "" {
				if len(found) > 0 {
					t.Errorf("found %s", text(found))
				}
				return
			}
			want := strings.Split(c.want, "|")
			if len(found) != 1 || string(found[0].Severity) != want[0] || found[0].Check != want[1] || !strings.Contains(text(found), want[2]) {
				t.Errorf("found %s, want %s", text(found), c.want)
			}
			if failed := want[0] == "problem" || want[0] == "not examined"; doctor.Failed(found) != failed {
				t.Errorf("failed is %v", !failed)
			}
		})
	}
}

func TestSameTextIsOneFinding(t *testing.T) {
	var list, other []doctor.Finding
	for i := range 21 {
		list = append(list, doctor.Finding{
			Check: "zone", Severity: doctor.Warning, What: "w", Why: "y", Change: "c", Where: fmt.Sprintf("/n:%d", 21-i),
		})
	}
	for _, change := range []func(*doctor.Finding){
		func(f *doctor.Finding) { f.Check = "clock" }, func(f *doctor.Finding) { f.What = "d" },
		func(f *doctor.Finding) { f.Severity = doctor.Hint }, func(f *doctor.Finding) { f.Now = "d" },
		func(f *doctor.Finding) { f.Why = "d" }, func(f *doctor.Finding) { f.Change = "d" },
	} {
		f := list[0]
		change(&f)
		other = append(other, f)
	}
	for range 2 { // sorting again changes nothing
		list = doctor.Sort(list)
		if len(list) != 1 || list[0].Where != "/n:1" || len(list[0].Places) != 21 || list[0].Places[20] != "/n:21" {
			t.Errorf("21 places are %+v", list)
		}
	}
	if both := doctor.Sort(append(other, list...)); len(both) != 7 {
		t.Errorf("what differs is one finding: %+v", both)
	}
}

// TestEveryCheckIsExplained holds the checks and docs/doctor.md together.
func TestEveryCheckIsExplained(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"../operate/examine.go"}
	for _, pattern := range []string{"*.go", "../registry/*/*.go", "../gateway/*/*.go", "../dyups/*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	for _, pattern := range []string{"../docs/registry-*.md", "../docs/gateway-*.md"} { // a kind explains its own
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			doc = append(doc, text...)
		}
	}
	used := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Check: +"([a-z-]+)"`).FindAllSubmatch(source, -1) {
			used[string(m[1])] = true
		}
	}
	for _, m := range regexp.MustCompile("(?m)^### `([a-z-]+)`").FindAllSubmatch(doc, -1) {
		if !used[string(m[1])] {
			t.Errorf("docs/doctor.md explains %s, and there is no such check", m[1])
		}
		delete(used, string(m[1]))
	}
	for name := range used {
		t.Errorf("docs/doctor.md does not explain %s", name)
	}
}
