package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/registry"
	"swallowkeeper/registry/registrytest"
	"swallowkeeper/upstream"
)

var (
	_ registry.Registry  = (*Registry)(nil)
	_ registry.Explainer = (*Registry)(nil)
	_ registry.Examiner  = (*Registry)(nil)
	_ registry.Waiter    = (*Config)(nil)
)

func TestMain(m *testing.M) { os.Exit(registrytest.Main(m, registrytest.Real)) }

// writer is one way to write files.
type writer struct {
	t      *testing.T
	path   string // that is watched
	change func(w *writer, text string)
	spoil  func(w *writer)
	now    string // the text that is whole

	mu  sync.Mutex
	all map[registrytest.Instance]bool // by instance without its state
}

// replace writes the text of one file at once, as editors and programs should.
func (w *writer) replace(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
}

// write writes it in place.
func (w *writer) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) link(to, path string) {
	w.t.Helper()
	if err := os.Symlink(to, path+".new"); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
}

// text is all instances, as TOML or JSON.
func (w *writer) text() string {
	entries := map[string]*entry{}
	for i, healthy := range w.all {
		if entries[i.Service] == nil {
			entries[i.Service] = &entry{Name: i.Service}
		}
		entries[i.Service].Servers = append(entries[i.Service].Servers, server{Address: i.Addr.String(), Healthy: &healthy})
	}
	if strings.HasSuffix(w.path, ".json") {
		list := []any{}
		for _, e := range entries {
			servers := []any{}
			for _, s := range e.Servers {
				servers = append(servers, map[string]any{"address": s.Address, "healthy": *s.Healthy})
			}
			list = append(list, map[string]any{"name": e.Name, "servers": servers})
		}
		text, err := json.MarshalIndent(map[string]any{"upstream": list}, "", " ")
		if err != nil {
			w.t.Fatal(err)
		}
		return string(text)
	}
	text := ""
	for _, e := range entries {
		text += fmt.Sprintf("[[upstream]]\nname = %q\n", e.Name)
		for _, s := range e.Servers {
			text += fmt.Sprintf("[[upstream.servers]]\naddress = %q\nhealthy = %v\n", s.Address, *s.Healthy)
		}
	}
	if text == "" {
		return "upstream = []\n"
	}
	return text
}

func (w *writer) set(i registrytest.Instance, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	healthy := i.Healthy
	i.Healthy = false
	if w.all == nil {
		w.all = map[registrytest.Instance]bool{}
	}
	delete(w.all, i)
	if there {
		w.all[i] = healthy
	}
	w.now = w.text()
	w.change(w, w.now)
}

// ways are the ways in which files are written.
func ways() map[string]func(t *testing.T) *writer {
	at := func(t *testing.T, name string) *writer { return &writer{t: t, path: filepath.Join(t.TempDir(), name)} }
	return map[string]func(t *testing.T) *writer{
		"TOML, replaced, then broken": func(t *testing.T) *writer {
			w := at(t, "u.toml")
			w.change = func(w *writer, text string) { w.replace(w.path, text) }
			w.spoil = func(w *writer) { w.replace(w.path, "[[upstream]]\nname = \"web\"\nservers = [") }
			return w
		},
		"JSON, written in place, then cut to nothing": func(t *testing.T) *writer {
			w := at(t, "u.json")
			w.change = func(w *writer, text string) { w.write(w.path, text) }
			w.spoil = func(w *writer) { w.write(w.path, "") }
			return w
		},
		"a folder, then removed": func(t *testing.T) *writer {
			w := at(t, "u.d")
			w.change = func(w *writer, text string) {
				if err := os.MkdirAll(w.path, 0o700); err != nil {
					t.Fatal(err)
				}
				w.replace(filepath.Join(w.path, "a.toml"), text)
				w.write(filepath.Join(w.path, "b.json"), `{"upstream": []}`)
				w.write(filepath.Join(w.path, "README"), `no file of ours`)
			}
			w.spoil = func(w *writer) {
				if err := os.RemoveAll(w.path); err != nil {
					t.Fatal(err)
				}
			}
			return w
		},
		"as Kubernetes mounts a ConfigMap": func(t *testing.T) *writer {
			w := at(t, "mount")
			version := 0
			w.change = func(w *writer, text string) {
				version++
				dir := filepath.Join(w.path, fmt.Sprintf("..%d", version))
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				w.write(filepath.Join(dir, "a.toml"), text)
				w.link(filepath.Base(dir), filepath.Join(w.path, "..data"))
				if version == 1 {
					w.link(filepath.Join("..data", "a.toml"), filepath.Join(w.path, "a.toml"))
				}
			}
			w.spoil = func(w *writer) { w.link("..nowhere", filepath.Join(w.path, "..data")) }
			return w
		},
	}
}

func TestContract(t *testing.T) {
	for name, way := range ways() {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
				w := way(t)
				w.now = w.text()
				w.change(w, w.now)
				return registrytest.Harness{
					Registry: openPath(t, w.path, nil), Origin: "files", Patience: 20 * time.Second,
					Register:   func(_ *testing.T, i registrytest.Instance) { w.set(i, true) },
					Deregister: func(_ *testing.T, i registrytest.Instance) { w.set(i, false) },
					Break:      func(*testing.T) { w.spoil(w) },
					Mend:       func(*testing.T) { w.change(w, w.now) },
				}
			})
		})
	}
}

// openPath makes a registry of a path.
func openPath(t testing.TB, path string, meter registry.Meter) *Registry {
	t.Helper()
	log, _ := test.NewNullLogger()
	c := &Config{Path: path, Resync: 10 * time.Second}
	r, err := c.New(registry.Deps{
		Name: "files", Log: log, Defaults: upstream.Defaults{All: upstream.DefaultTemplate()}, Meter: meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.(*Registry)
}

// shown writes a set with all that nginx would be told.
func shown(s upstream.Set) string {
	var lines []string
	for u := range s.All() {
		line := fmt.Sprintf("%s %q %d:", u.Name, u.Options.Method, u.Options.Keepalive)
		for _, v := range u.Servers {
			line += fmt.Sprintf(" %s w%d f%d/%s c%d b%v", v.Addr, v.Weight, v.MaxFails, v.FailTimeout, v.MaxConns, v.Backup)
		}
		lines = append(lines, line)
		for _, r := range u.Routes {
			r.Origin = ""
			lines = append(lines, r.Text())
		}
	}
	for _, o := range s.Out() {
		lines = append(lines, fmt.Sprintf("out %s %s: %s", o.Service, o.Addr+o.Route, o.Reason))
	}
	return strings.Join(lines, "\n")
}

func TestWhatAFileSays(t *testing.T) {
	for _, row := range []struct{ name, file, text, want string }{
		{"all options", "u.toml", `
[[upstream]]
name      = "web"
method    = "least_conn"
keepalive = 3
servers   = [
  { address = "10.0.0.1:80", weight = 5, max_fails = 0, fail_timeout = "7s", max_conns = 9, backup = true },
  { address = "[2001:db8::1]:80" },
]`, "web \"least_conn\" 3: 10.0.0.1:80 w5 f0/7s c9 btrue [2001:db8::1]:80 w1 f3/2s c0 bfalse"},
		{"the same in JSON", "u.json", `{"upstream": [{"name": "web", "servers": [{"address": "10.0.0.1:80", "fail_timeout": "7s"}]}]}`, "web \"\" 20: 10.0.0.1:80 w1 f3/7s c0 bfalse"},
		{"none", "u.toml", "upstream = []", ""},
		{"none in JSON", "u.json", `{"upstream": []}`, ""},
		{"none usable", "u.toml", "[[upstream]]\nname = \"web\"\nservers = [{ address = \"10.0.0.1:80\", healthy = false }]", "web \"\" 20:\nout web 10.0.0.1:80: its file says healthy = false"},
		{"twice, and usable once", "u.toml", "[[upstream]]\nname = \"web\"\nservers = [{ address = \"10.0.0.1:80\", healthy = false }, { address = \"10.0.0.1:80\" }]", "web \"\" 20: 10.0.0.1:80 w1 f3/2s c0 bfalse"},
		{"routes", "u.toml", "[[upstream]]\nname = \"web\"\nroutes = [\"/web/* strip\", \"/a;b\"]\nservers = [{ address = \"10.0.0.1:80\" }]", "web \"\" 20: 10.0.0.1:80 w1 f3/2s c0 bfalse\n/web/* strip=/web\nout web /a;b: path \"/a;b\": ';' is not allowed in a path"},
		{"no server", "u.toml", "[[upstream]]\nname = \"web\"", "web \"\" 20:"},
		{
			"what is not right is out alone", "u.toml", `
[[upstream]]
name = "web"
servers = [{ address = "10.0.0.1:80" }, { address = "10.0.0.2:80", weight = 0 }, { address = "0.0.0.0:80" }, { address = "host:80" },
  { address = "10.0.0.3" }, { address = "10.0.0.3:0" }, { address = "10.0.0.3:x; }" }, {}]
[[upstream]]
name = "web; }\nserver 6.6.6.6"
servers = [{ address = "10.0.0.1:80" }]`,
			`web "" 20: 10.0.0.1:80 w1 f3/2s c0 bfalse
out web : "" is no address with a port
out web 0.0.0.0:80: 0.0.0.0 means every address, not one
out web 10.0.0.2:80: weight 0 is not between 1 and 65535
out web 10.0.0.3: "10.0.0.3" is no address with a port
out web 10.0.0.3:0: port 0 is not between 1 and 65535
out web 10.0.0.3:x; }: "x; }" is no port
out web host:80: "host" is no IP address
out web; }
server 6.6.6.6 : the name has characters other than letters, digits, _ . - or begins with . or -`,
		},
		{
			"options that are not right are the guard's to judge", "u.toml", "[[upstream]]\nname = \"api\"\n[[upstream]]\nname = \"web\"\nmethod = \"hash $uri\"\nservers = [{ address = \"10.0.0.1:80\" }]",
			"api \"\" 20:\nweb \"hash $uri\" 20: 10.0.0.1:80 w1 f3/2s c0 bfalse",
		},
		{"a backup beside a method that takes none", "u.toml", "[[upstream]]\nname = \"web\"\nmethod = \"ip_hash\"\nservers = [{ address = \"10.0.0.1:80\", backup = true }]", "web \"ip_hash\" 20:\nout web 10.0.0.1:80: the balancing method ip_hash takes no backup servers"},

		{"empty", "u.toml", "", "u.toml:1: it names no upstream; one that has none says upstream = []"},
		{"a comment", "u.toml", "# none", "u.toml:1: it names no upstream; one that has none says upstream = []"},
		{"empty JSON", "u.json", "", "u.json:1: not JSON: it ends too early"},
		{"null", "u.json", `{"upstream": null}`, "u.json:1: it names no upstream; one that has none says upstream = []"},
		{"half", "u.toml", "[[upstream]]\nname = \"web\"\nservers = [\n{ addr", "u.toml:4: "},
		{"half of JSON", "u.json", "{\"upstream\": [\n{\"name\":", "u.json:2: not JSON: it ends too early"},
		{"no JSON", "u.json", "{\n}\n<html>", "u.json:3: "},
		{"no JSON at all", "u.json", "<html>", "u.json:1: not JSON: invalid character '<' looking for beginning of value"},
		{"an unknown key", "u.toml", "[[upstream]]\nname = \"web\"\n[[upstream.servers]]\naddress = \"10.0.0.1:80\"\nwieght = 3", "u.toml:5: unknown key \"upstream.servers.wieght\"; did you mean weight?"},
		{"a key like no other", "u.toml", "[[upstream]]\nname = \"web\"\ncolour = \"red\"", "u.toml:3: unknown key \"upstream.colour\"; allowed are name, method, keepalive, servers, routes"},
		{"a key like no other in JSON", "u.json", "{\"upstream\": [\n{\"name\": \"web\",\n\"colour\": []}]}", "u.json:3: unknown key \"colour\""},
		{"days", "u.toml", "[[upstream]]\nname = \"web\"\n[[upstream.servers]]\naddress = \"10.0.0.1:80\"\nfail_timeout = \"1y\"", "u.toml:5: \"upstream.servers.fail_timeout\": allowed is a duration such as \"10s\""},
		{"an unknown key in JSON", "u.json", "{\"upstream\": [\n{\"name\": \"web\",\n\"sevrers\": []}]}", "u.json:3: unknown key \"sevrers\"; did you mean servers?"},
		{"a wrong type", "u.toml", "[[upstream]]\nname = 3", "u.toml:2: \"upstream.name\": cannot decode TOML integer there"},
		{"a wrong type in JSON", "u.json", "{\"upstream\": [\n{\"name\": 3}]}", "u.json:2: \"upstream.name\": a number is not allowed there"},
		{"no duration", "u.toml", "[[upstream]]\nname = \"web\"\nservers = [{ address = \"10.0.0.1:80\", fail_timeout = \"soon\" }]", "u.toml:3: "},
		{"no name", "u.toml", "[[upstream]]\nservers = []", "u.toml: upstream 1 has no name"},
		{"not UTF-8", "u.toml", "[[upstream]]\nname = \"\xff\"", "u.toml:2: "},
		{"deep", "u.json", strings.Repeat("[", 100_000), "u.json:1: "},
		{"another name", "u.conf", "upstream = []", "u.conf: it is called neither *.toml nor *.json"},
		{"big", "u.toml", "#" + strings.Repeat("x", maxFile), "u.toml: it is too big: allowed are 8 MB for one file and 32 MB for all"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, row.file)
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := openPath(t, path, nil).read(t.Context())
			got := shown(set)
			if err != nil {
				got = strings.ReplaceAll(err.Error(), dir+"/", "")
				if strings.HasSuffix(row.want, ": ") && strings.HasPrefix(got, row.want) && len(got) < 200 {
					return
				}
			}
			if got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// TestWhatIsNoFile: what can't be read is told, and nothing hangs.
func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop.toml")
	if err := os.Symlink("loop.toml", loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.toml"): "no such file",
		loop:                            "too many levels",
		dir:                             "no such file", // the link in it leads nowhere
		"/dev/null":                     "neither",
		t.TempDir():                     "it has no file *.toml or *.json",
	} {
		if path == dir {
			want = "too many levels"
		}
		if _, err := openPath(t, path, nil).read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

// TestAFileThatIsBeingWritten is not believed, though its beginning is a whole file.
func TestAFileThatIsBeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "u.toml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	synctest.Test(t, func(t *testing.T) {
		r := openPath(t, path, nil)
		var writing sync.WaitGroup
		write := func(n int) {
			writing.Go(func() {
				for i := range n {
					fmt.Fprintf(f, "[[upstream]]\nname = \"s%d\"\n", i)
					<-time.After(r.settle / 4)
				}
			})
		}
		write(60)
		if set, err := r.read(t.Context()); err != nil || set.Len() != 60 {
			t.Errorf("%d upstreams, %v; want 60", set.Len(), err)
		}
		defer writing.Wait()
		write(8 * int(mostWait/r.settle))
		<-time.After(r.settle)
		if set, err := r.read(t.Context()); !errors.Is(err, errBeingWritten) {
			t.Errorf("written without an end: %d upstreams, %v", set.Len(), err)
		}
	})
}

func TestExplainAndExamine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.toml")
	text := "[[upstream]]\nname = \"Web\"\nservers = [{ address = \"10.0.0.1:80\" }, { address = \"10.0.0.2:80\", healthy = false }]"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := openPath(t, dir, nil)
	found, err := r.Explain(t.Context(), "web")
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%s %t %s", f.Addr, f.In, f.Reason))
	}
	want := []string{
		`10.0.0.1:80 true it stands in file "a.toml"`,
		`10.0.0.2:80 false its file says healthy = false; it stands in file "a.toml"`,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if found, err := r.Explain(t.Context(), "api"); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	x, err := r.Examine(t.Context())
	if err != nil || len(x.Findings) > 0 || x.Set.Servers() != 1 {
		t.Errorf("%+v, %v", x, err)
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // that is what is found
		t.Fatal(err)
	}
	if x, err = r.Examine(t.Context()); err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "file-writable" {
		t.Errorf("%+v, %v", x, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Examine(t.Context()); err == nil {
		t.Error("an empty folder is examined")
	}
}

func TestMetrics(t *testing.T) {
	reads, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "u.toml")
	r := openPath(t, path, reads)
	_, _ = r.read(t.Context())
	if err := os.WriteFile(path, []byte("upstream = []"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _ = r.read(t.Context())
	for _, outcome := range []string{"ok", "failed"} {
		if got := testutil.ToFloat64(r.reads.WithLabelValues("files", outcome)); got != 1 {
			t.Errorf("%v reads were %s", got, outcome)
		}
	}
}

func TestValidate(t *testing.T) {
	for path, good := range map[string]bool{"/a/b.toml": true, "/a": true, "a.toml": false, "": false, "/": false, "/..": false, "/a\x00b": false} {
		c := DefaultConfig()
		c.Path = path
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
	c := Config{Path: "/a b,c\n/" + strings.Repeat("é", 300) + ".toml"}
	if name := c.Identity(nil); !registry.ValidName(name) || !strings.HasPrefix(name, "file@/a_b_c_/") {
		t.Errorf("its name is %q", name)
	}
}

// FuzzDecode: whatever a file holds, there is an error or only what is valid.
func FuzzDecode(f *testing.F) {
	f.Add("[[upstream]]\nname = \"web\"\nservers = [{ address = \"10.0.0.1:80\", weight = 3, healthy = false }]", false)
	f.Add("[[upstream]]\nname = \"web\"\nkeepalive = -1\nservers = [{ address = \"10.0.0.1:80\" }]", false)
	f.Add(`{"upstream": [{"name": "web", "method": "ip_hash", "servers": [{"address": "10.0.0.1:80", "fail_timeout": "7s"}]}]}`, true)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		s := source{path: "u.toml", text: []byte(text)}
		if isJSON {
			s.path = "u.json"
		}
		r := &Registry{name: "files", defaults: upstream.Defaults{All: upstream.DefaultTemplate()}}
		set, err := r.parse([]source{s})
		if err != nil {
			if !strings.HasPrefix(err.Error(), s.path+":") {
				t.Errorf("%q does not say where", err)
			}
			return
		}
		for u := range set.All() {
			u.Options = upstream.Options{} // the guard judges them
			if err := u.Valid(); err != nil {
				t.Error(err)
			}
		}
		in := guard.Input{Accepted: upstream.NewSet(nil), Seen: set, Now: time.Now()}
		for range 2 {
			in.Accepted = gateway.Loadable(guard.DefaultConfig().Decide(in).Accepted)
			for u := range in.Accepted.All() {
				if err := nginxconf.Valid(u); err != nil {
					t.Errorf("one upstream stops the changes of all: %s: %v", u.Name, err)
				}
			}
		}
	})
}
