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
	good := doctor.Gateway{Name: "edge", Address: "http://127.0.0.1:18882", Worker: true}
	gateway := func(change func(*doctor.Gateway)) doctor.Facts {
		g := good
		change(&g)
		f := testFacts("/etc/nginx")
		f.Gateways = []doctor.Gateway{g}
		return f
	}
	registry := func(r doctor.Registry) doctor.Facts {
		r.Name = "consul"
		return doctor.Facts{Registries: []doctor.Registry{r}}
	}
	for _, c := range []struct {
		name  string
		facts doctor.Facts
		want  string // severity, check and a part of the text; "" for nothing
	}{
		{"a good gateway", gateway(func(*doctor.Gateway) {}), ""},
		{"a gateway that is down", gateway(func(g *doctor.Gateway) { g.Err = errors.New("refused") }), "not examined|gateway-unread|refused"},
		{"no header", gateway(func(g *doctor.Gateway) { g.Worker = false }), "warning|worker-header|add_header"},
		{"a clock 4 s ahead", gateway(func(g *doctor.Gateway) { g.Ahead = 4 * time.Second }), ""},
		{"a clock ahead", gateway(func(g *doctor.Gateway) { g.Ahead = time.Minute }), "warning|clock|1m0s ahead of"},
		{"an upstream of somebody's", gateway(func(g *doctor.Gateway) { g.Live = []string{"web", "mine", "Shop"} }), "problem|duplicate|Shop"},
		{"upstreams of ours and his", gateway(func(g *doctor.Gateway) { g.Live = []string{"web", "mine"} }), ""},
		{"upstreams of nginx that are not known", gateway(func(g *doctor.Gateway) { g.StaticUnknown = true }), "warning|own-upstreams|must not include"},
		{"by a socket", gateway(func(g *doctor.Gateway) { g.Address, g.Err = "unix:/run/d.sock", errors.New("x") }), "not examined|gateway-unread|--unix-socket /run/d.sock http://localhost/list"},

		{"a good registry", registry(doctor.Registry{Services: 10, Connections: 200}), ""},
		{"a registry that is down", registry(doctor.Registry{Err: errors.New("no route")}), "not examined|registry-unread|no route"},
		{"a cut list", registry(doctor.Registry{Cut: errors.New("cut by ACLs")}), "problem|token|service_prefix"},
		{"a clock behind", registry(doctor.Registry{Ahead: -10 * time.Second}), "warning|clock|10s behind"},
		{
			"few connections", registry(doctor.Registry{Services: 300, Connections: 200, Unwatched: 162, Enough: 400}),
			"warning|connections|http_max_conns_per_client = 400",
		},
		{
			"few connections, guessed", registry(doctor.Registry{Services: 300, Connections: 200, Unwatched: 1, Enough: 400, Guessed: true}),
			"warning|connections|its default",
		},
		{"more asked for than there are", registry(doctor.Registry{Connections: 200, Asked: 300}), "problem|connections|connections = 300"},
		{"as many asked for", registry(doctor.Registry{Connections: 200, Asked: 200}), ""},
		{
			"no check", registry(doctor.Registry{Unchecked: []doctor.Instance{{"web", "web-1", "n1", "10.0.0.1:80"}, {"web", "web-2", "n1", ""}}}),
			`warning|no-check|Service web has 2 instances without a check of its own: web-1 at "10.0.0.1:80" on node n1, and 1 more`,
		},
		{
			"hostile names", registry(doctor.Registry{Unchecked: []doctor.Instance{{"x\n{", "\x1b[2J", "n;", "a"}}}),
			`warning|no-check|Service "x\n{" has 1 instance without a check of its own: "\x1b[2J" at "a" on node "n;"`,
		},
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

// TestManyWithoutChecks holds that what is the same at many places is said once.
func TestManyWithoutChecks(t *testing.T) {
	r := doctor.Registry{Name: "consul"}
	for i := range 21 {
		r.Unchecked = append(r.Unchecked, doctor.Instance{Service: fmt.Sprintf("s%02d", i), ID: "1", Node: "n", Addr: "a"})
	}
	found := doctor.Examine(doctor.Facts{Registries: []doctor.Registry{r}})
	if len(found) != 1 || !strings.Contains(text(found), "21 services have instances") || len(found[0].Places) != 21 {
		t.Fatalf("found %+v", found)
	}
	if want := `registry consul: service s20: 1 at "a" on node n`; found[0].Places[20] != want {
		t.Errorf("the last place is %s, want %s", found[0].Places[20], want)
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
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, filepath.Join("..", "cmd", "swallowkeeper", "doctor.go"))
	used := map[string]bool{}
	for _, name := range files {
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
