package doctor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor"
	"swallowkeeper/dyups"
	"swallowkeeper/internal/golden"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

func set(upstreams ...upstream.Upstream) upstream.Set { return upstream.NewSet(upstreams) }

func up(name string, servers int) upstream.Upstream {
	u := upstream.Upstream{Name: name}
	for i := range servers {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		u.Servers = append(u.Servers, upstream.Server{Addr: netip.AddrPortFrom(addr, 80), Weight: 1})
	}
	return u
}

// testFacts are what the table's configurations are judged by.
func testFacts(dir string) doctor.Facts {
	written := set(up("web", 2), up("api", 1))
	return doctor.Facts{
		ConfPath: filepath.Join(dir, "conf.d", "dyups.upstream.conf"),
		Written:  written,
		Wanted:   set(up("web", 2), up("api", 1), up("Shop", 1)),
		Gateways: []doctor.Gateway{edge()},
	}
}

// edge is a gateway with nothing wrong, as its kind has it before it is asked.
func edge() doctor.Gateway {
	c := dyups.DefaultConfig()
	c.Timeout = time.Nanosecond
	log := logrus.New()
	log.SetOutput(io.Discard)
	x, _ := dyups.New(c, log).Examine(context.Background())
	return doctor.Gateway{Name: "edge", Examination: x}
}

// headless is what a gateway finds whose answers name no worker.
var headless = []doctor.Finding{{Check: "worker-header", Severity: doctor.Warning, What: "no worker", Change: "add_header"}}

// cases are the configurations in testdata and what else is special about them. The lines
// that findings are expected at say so themselves.
var cases = []struct {
	name  string
	facts func(*doctor.Facts)
	more  []string // findings that are at no line of the file
	stock bool     // nginx without dyups takes it too
	fresh bool     // the conf file is not written yet
	bad   bool     // nginx does not take it
	dns   bool     // Tengine would ask DNS about it
}{
	{name: "good"},
	{name: "bom", bad: true},
	{name: "interface-closed"},
	{name: "interface-open"},
	{name: "interface-limit"},
	{name: "interface-none", stock: true},
	{name: "interface-address"},
	{name: "worker-header", facts: func(f *doctor.Facts) { f.Gateways[0].Findings = headless }}, // it is said once
	{name: "body"},
	{name: "conf-not-included"},
	{name: "conf-twice", bad: true},
	{name: "conf-misplaced", bad: true},
	{name: "conf-exact", fresh: true, bad: true},
	{name: "conf-not-written", fresh: true},
	{name: "upstreams", facts: func(f *doctor.Facts) { f.Gateways[0].Upstreams = []string{"SHOP", "Shop"} }}, // likewise
	{name: "stock-duplicate", facts: func(f *doctor.Facts) {
		f.Gateways[0].API.Address = "http://127.0.0.1:19999"
	}, stock: true, bad: true},
	{name: "stock-traffic", stock: true},
	{name: "name-case", stock: true, dns: true},
	{name: "queue-small", facts: func(f *doctor.Facts) {
		f.Wanted = set(up("huge", 20_000))
	}, more: []string{"warning read-setting gateway edge"}},
	{name: "queue-all", facts: func(f *doctor.Facts) {
		var all []upstream.Upstream
		for i := range 500 {
			all = append(all, up(fmt.Sprintf("s%d", i), 10))
		}
		f.Wanted = set(all...)
	}},
	{name: "queue-setting", more: []string{"problem queue-setting gateway edge"}},
	{name: "queue-big", facts: func(f *doctor.Facts) {
		f.Wanted = set(up("huge", 20_000))
	}, more: []string{"hint queue-setting gateway edge", "hint read-setting gateway edge"}},
	{name: "lua", stock: true, facts: func(f *doctor.Facts) {
		f.Wanted = set(up("large", 5_000)) // there is room for more
	}},
	{name: "lua-dict", stock: true, facts: func(f *doctor.Facts) {
		var all []upstream.Upstream
		for i := range 600 {
			all = append(all, up(fmt.Sprintf("s%d", i), 10))
		}
		f.Wanted = set(all...)
	}},
	{name: "lua-bad", stock: true},
	{name: "lua-included", stock: true},
	{name: "lua-elsewhere", stock: true},
}

// TestNginx reads each configuration from its files, from what the real nginx prints of
// it, and from what a real Tengine prints where TENGINE_BIN names one.
func TestNginx(t *testing.T) {
	stock, _ := exec.LookPath("/usr/sbin/nginx")
	tengine := os.Getenv("TENGINE_BIN")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			main, want := prepare(t, dir, c.name, c.fresh)
			want = append(want, c.more...)
			slices.Sort(want)

			examine := func(t *testing.T, from doctor.NginxSource) []doctor.Finding {
				t.Helper()
				f := testFacts(dir)
				if c.facts != nil {
					c.facts(&f)
				}
				tree, elsewhere, found := doctor.ReadNginx(t.Context(), from)
				f.Nginx, f.Elsewhere = tree, elsewhere
				return doctor.Sort(append(found, doctor.Examine(f)...))
			}
			compare := func(t *testing.T, found []doctor.Finding) {
				t.Helper()
				if diff := cmp.Diff(without(want, "nginx-refuses"), without(short(found, dir), "nginx-refuses")); diff != "" {
					t.Error(diff)
				}
			}
			t.Run("files", func(t *testing.T) {
				found := examine(t, doctor.NginxSource{File: main})
				compare(t, found)
				golden.File(t, filepath.Join("testdata", c.name+".golden"), strings.ReplaceAll(text(found), dir, "DIR"))
			})
			for program, name := range map[string]string{stock: "nginx", tengine: "Tengine"} {
				if program == "" || program == stock && !c.stock || program == tengine && (c.dns || strings.HasPrefix(c.name, "lua")) {
					continue
				}
				t.Run(name, func(t *testing.T) {
					from := doctor.NginxSource{
						Program: program,
						Args:    []string{"-p", dir, "-c", main, "-g", "pid " + dir + "/nginx.pid; error_log stderr;"},
					}
					if strings.HasPrefix(c.name, "lua") && !exists("/usr/lib/nginx/modules/ngx_http_lua_module.so") {
						t.Skip("needs nginx's Lua module")
					}
					found := examine(t, from)
					compare(t, found)
					refused := slices.ContainsFunc(found, func(f doctor.Finding) bool {
						return f.Check == "nginx-refuses" && strings.HasPrefix(f.Where, dir) && f.Severity == doctor.Problem
					})
					if refused != c.bad {
						t.Errorf("refused: %v, want %v: %v", refused, c.bad, found)
					}
				})
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// prepare lays out a configuration and says which findings its lines ask for.
func prepare(t *testing.T, dir, name string, fresh bool) (main string, want []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	main = filepath.Join(dir, "nginx.conf")
	conf := strings.ReplaceAll(string(raw), "DIR", dir)
	for i, line := range strings.Split(conf, "\n") {
		_, checks, ok := strings.Cut(line, "# want: ")
		if !ok {
			continue
		}
		where := fmt.Sprintf("nginx.conf:%d", i+1)
		if i == 0 {
			where = "nginx.conf"
		}
		for check := range strings.SplitSeq(checks, ", ") {
			want = append(want, check+" "+where)
		}
	}
	// Only root may write where nginx was built to.
	temp := "access_log off;"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf(" %s_temp_path %s/%s;", kind, dir, kind)
	}
	write(t, main, strings.Replace(conf, "http {", "http { "+temp, 1))
	if !fresh {
		text := []byte("# Written by swallowkeeper: edits are lost.\n")
		for u := range testFacts(dir).Written.All() {
			text = nginxconf.AppendBlock(text, u)
		}
		write(t, filepath.Join(dir, "conf.d", "dyups.upstream.conf"), string(text))
	}
	return main, want
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// short is a line for each finding; those that are at a line have no severity, as the golden
// files have it.
func short(found []doctor.Finding, dir string) []string {
	var list []string
	for _, f := range found {
		for _, place := range f.Places {
			where, ours := strings.CutPrefix(place, dir+"/")
			if !ours {
				where = string(f.Severity) + " " + f.Check + " " + where
			} else {
				where = f.Check + " " + where
			}
			list = append(list, where)
		}
	}
	slices.Sort(list)
	return list
}

func without(list []string, check string) []string {
	var kept []string
	for _, s := range list {
		if !strings.HasPrefix(s, check+" ") {
			kept = append(kept, s)
		}
	}
	return kept
}

func text(found []doctor.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s %s %s\n  %s\n  %s\n- %s\n+ %s\n\n", f.Severity, f.Check, strings.Join(f.Places, " "), f.What, f.Why, f.Now, f.Change)
	}
	return b.String()
}

func TestReadNginx(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
		return file
	}
	write(t, filepath.Join(dir, "broken.conf"), "http {")
	write(t, filepath.Join(dir, "dump"), "# configuration file /n/nginx.conf:\nhttp {}\n")
	for _, c := range []struct {
		name   string
		from   doctor.NginxSource
		stdin  string
		tree   bool
		wanted string // "" for no finding
	}{
		{name: "no nginx", from: doctor.NginxSource{Program: filepath.Join(dir, "none")}, wanted: "no such file"},
		{name: "no file", from: doctor.NginxSource{File: filepath.Join(dir, "none")}, wanted: "no such file"},
		{name: "a dump", from: doctor.NginxSource{File: filepath.Join(dir, "dump")}, tree: true},
		{name: "a broken file", from: doctor.NginxSource{File: filepath.Join(dir, "broken.conf")}, wanted: "unexpected end"},
		{name: "standard input", from: doctor.NginxSource{File: "-"}, stdin: "# configuration file /n:\nhttp {}\n", tree: true},
		{name: "no dump on standard input", from: doctor.NginxSource{File: "-"}, stdin: "http {}\n", wanted: "no output of nginx -T"},
		{
			name: "no permission", from: doctor.NginxSource{Program: script("denied",
				`echo 'nginx: [emerg] open() "/etc/secret.conf" failed (13: Permission denied) in /etc/nginx/nginx.conf:3' >&2; exit 1`)},
			wanted: "Permission denied",
		},
		{name: "it prints something else", from: doctor.NginxSource{Program: script("else", "echo hello")}, wanted: "no output of nginx -T"},
		{name: "it fails silently", from: doctor.NginxSource{Program: script("silent", "exit 3")}, wanted: "exit status 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.from.Stdin = strings.NewReader(c.stdin)
			tree, _, found := doctor.ReadNginx(t.Context(), c.from)
			if (tree != nil) != c.tree {
				t.Errorf("tree %v, want %v", tree, c.tree)
			}
			switch {
			case c.wanted == "" && len(found) > 0:
				t.Errorf("found %v", found)
			case c.wanted != "" && (len(found) == 0 || !strings.Contains(text(found), c.wanted) || !doctor.Failed(found) ||
				found[0].Severity != doctor.Unknown):
				t.Errorf("found %v, want one not examined with %q", found, c.wanted)
			}
		})
	}
}

func TestNginxThatHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nginx")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	ctx, cancel := contextFor(t, 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, found := doctor.ReadNginx(ctx, doctor.NginxSource{Program: file})
	if took := time.Since(began); took > 10*time.Second || len(found) != 1 || !strings.Contains(found[0].What, "in time") {
		t.Errorf("after %s: %v", took, found)
	}
}

// TestElsewhere takes what nginx prints in a container, where the conf file has another path.
func TestElsewhere(t *testing.T) {
	dump := func(first string) []byte {
		return []byte("# configuration file /etc/nginx/nginx.conf:\nhttp {\n include /mounted/*.conf;\n}\n\n" +
			"# configuration file /mounted/other.conf:\n" + first + "\nupstream web { server 10.0.0.1:80; }\n")
	}
	for first, want := range map[string]bool{"# Written by swallowkeeper: edits are lost.": true, "# mine": false} {
		f := testFacts("/here")
		var found []doctor.Finding
		f.Nginx, f.Elsewhere, found = doctor.ReadNginx(t.Context(), doctor.NginxSource{File: "-", Stdin: bytes.NewReader(dump(first))})
		found = append(found, doctor.Examine(f)...)
		for _, check := range []string{"conf-included", "duplicate"} {
			if got := !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == check }); got != want {
				t.Errorf("%q: %s is right: %v, want %v", first, check, got, want)
			}
		}
	}
}
