package nginx

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/internal/allocated"
	"swallowkeeper/internal/golden"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// routed is a set of upstreams with routes: "NAME: ROUTE" a line.
func routed(t testing.TB, lines string) upstream.Set {
	t.Helper()
	var list []upstream.Upstream
	for line := range strings.Lines(lines) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		text = strings.TrimSpace(text)
		if name == "" || name[0] == '#' {
			continue
		}
		i := slices.IndexFunc(list, func(u upstream.Upstream) bool { return u.Name == name })
		if i < 0 {
			i = len(list)
			list = append(list, upstream.Upstream{Name: name, Servers: []upstream.Server{{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(9001+i)), Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second,
			}}})
		}
		if text == "" {
			continue
		}
		r, err := route.ParseText(text, name)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list[i].Routes = append(list[i].Routes, r)
	}
	return upstream.NewSet(list)
}

// TestLocations holds what is rendered to files that hold the routes, too: testdata/NAME.txt is routes, a line of dashes, and
// each file behind its name.
func TestLocations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d golden files, %v", len(files), err)
	}
	for _, name := range files {
		for _, variables := range []bool{false, true} {
			if variables != strings.Contains(name, "dyups") {
				continue
			}
			t.Run(filepath.Base(name), func(t *testing.T) {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				given, _, _ := strings.Cut(string(text), "----\n")
				set := routed(t, given)
				rendered, err := locations(set, variables)
				if err != nil {
					t.Fatal(err)
				}
				slices.SortFunc(rendered, func(a, b file) int { return strings.Compare(a.path, b.path) })
				got := ""
				for _, f := range rendered {
					got += "\n" + f.path + "\n\n" + string(f.text)
				}
				golden.File(t, name, given+"----\n"+got)
				all, err := render(set, map[bool]string{false: byReload, true: byDyups}[variables])
				if err != nil {
					t.Fatal(err)
				}
				back, whole := parse(all.files, all.digest)
				if !whole || !variables && !back.Equal(set) || texts(back) != texts(set) {
					t.Errorf("read back, whole: %t, it is %+v", whole, slices.Collect(back.All()))
				}
			})
		}
	}
}

// allowed are the directives that locations are made of.
var allowed = []string{
	"location", "map", "if", "return", "rewrite", "set", "internal", "absolute_redirect", "error_page", "auth_request", "proxy_pass",
	"proxy_http_version", "proxy_set_header", "proxy_pass_request_body", "proxy_connect_timeout", "proxy_send_timeout",
	"proxy_read_timeout", "proxy_next_upstream_timeout", "default", "~*^websocket$",
}

// FuzzNoTextLeavesItsDirective: whatever a label says, what is rendered is a few locations of known directives that go to the
// route's upstream, as a parser reads it that knows nothing of routes.
func FuzzNoTextLeavesItsDirective(f *testing.F) {
	for _, s := range []string{
		"/api/* strip=/api", "shop.example/orders/{id:[0-9]+}/items methods=GET,POST timeout=2s rewrite=/v2/{id}", "/a auth=/auth", "/b auth=auth/verify",
		"/a;b", "/a{b}", "/a$x", "/a'b", `/a"b`, `/a\b`, "/a#b", "/a%20b", "/x/../y", "~ ^/x", "/a b", "/a\nb", "/(a)", "/a+b=c:d@e!f&g,h~i", "/*",
		"/{x:[a-z0-9.-]{1,3}}/* websocket=false", "/a methods=GET;}", "a;b.example/", "/a auth=x;/y", "/a rewrite=/b;c", "/a strip=/a;",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := route.ParseText(text, "web")
		if err != nil {
			return
		}
		set := routed(t, "web:\nauth:")
		web, _ := set.Get("web")
		web.Routes = []route.Route{r}
		if web.Valid() != nil {
			return
		}
		for _, variables := range []bool{false, true} {
			files, err := locations(set.With([]upstream.Upstream{web}, nil), variables)
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				top, err := nginxtree.Parse(file.path, file.text)
				if err != nil {
					t.Fatalf("%q: %v\n%s", text, err, file.text)
				}
				contained(t, text, top, 0)
			}
		}
	})
}

func contained(t *testing.T, text string, list []*nginxtree.Directive, depth int) {
	t.Helper()
	if depth == 0 && len(list) > 3 {
		t.Fatalf("%q has %d blocks", text, len(list))
	}
	for _, d := range list {
		if !slices.Contains(allowed, d.Name()) || depth == 0 && d.Name() != "location" && d.Name() != "map" {
			t.Fatalf("%q has %s", text, d)
		}
		if d.Name() == "proxy_pass" && !slices.Contains([]string{"http://web", "http://auth", "http://$swallowkeeper_u", "http://$swallowkeeper_auth"}, d.Args[1]) {
			t.Fatalf("%q goes to %s", text, d)
		}
		if d.Name() == "if" && len(d.Block) != 1 || d.Name() == "set" && len(d.Args) != 3 || d.Name() == "rewrite" && len(d.Args) != 4 {
			t.Fatalf("%q has %s", text, d)
		}
		contained(t, text, d.Block, depth+1)
	}
}

// TestFileNames: no two upstreams have one file, and none that of ours.
func TestFileNames(t *testing.T) {
	long := strings.Repeat("a", 255)
	seen := map[string]string{answerFile: "ours", mapFile: "ours", sharedFile: "ours"}
	for _, name := range []string{"web", "Generation", "generation", "several", long, long[:254] + "b", long[:200], "x.upstream.conf", "x.location.conf", "routes"} {
		for _, kind := range []string{upstreamFile, locationFile} {
			f := fileName(name) + kind
			if seen[f] != "" || len(f) > 255 {
				t.Errorf("%s of %d bytes is the file of %s and of %s", f, len(f), seen[f], name)
			}
			seen[f] = name
		}
	}
	r, err := render(routed(t, "generation:\n"+long+":"), byReload)
	if err != nil {
		t.Fatal(err)
	}
	if set, whole := parse(r.files, r.digest); !whole || set.Len() != 2 {
		t.Errorf("read back it is %d upstreams", set.Len())
	}
	if text := fmt.Sprint(string(answer(7, r.digest))); digestIn([]byte(text)) != r.digest || digestIn([]byte(text[1:])) != "" {
		t.Errorf("the digest is not found in %q", text)
	}
}

// TestCostOfARoute: the locations of a route cost the same beside few others and beside many.
func TestCostOfARoute(t *testing.T) {
	cost := func(n int) allocated.Memory {
		var list []upstream.Upstream
		for i := range n {
			u := upstream.Upstream{Name: fmt.Sprintf("s%d", i), Servers: []upstream.Server{upstream.DefaultTemplate().Server()}}
			for _, path := range []string{"/s%d/*", "/s%d/{id:[0-9]+}/items", "/s%d/health"} {
				r, err := route.ParseText(fmt.Sprintf(path, i), u.Name)
				if err != nil {
					t.Fatal(err)
				}
				r.Methods = []string{"GET"}
				u.Routes = append(u.Routes, r)
			}
			u.Routes = route.Canonical(u.Routes)
			list = append(list, u)
		}
		all := upstream.NewSet(list)
		m := allocated.By(1, func() {
			if files, err := locations(all, false); err != nil || len(files) != n+1 {
				t.Fatalf("%d files, %v", len(files), err)
			}
		})
		return allocated.Memory{Times: m.Times / float64(n), Bytes: m.Bytes / float64(n)}
	}
	allocated.Flat(t, "a route's locations", cost(100), cost(2000))
}
