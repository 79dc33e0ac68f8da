package etcd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// fill is a table with keys and values, in pairs.
func fill(t testing.TB, change func(*Config), pairs ...string) *table {
	t.Helper()
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	all := newTable(&c, "dc", upstream.Defaults{All: upstream.DefaultTemplate()})
	for i := 0; i+1 < len(pairs); i += 2 {
		all.put(pair{key: pairs[i], value: []byte(pairs[i+1]), revision: int64(i + 1)})
	}
	return all
}

func manyPaths(n int) (paths []string) {
	for i := range n {
		paths = append(paths, fmt.Sprintf("/%03d", i))
	}
	return paths
}

// routes writes the routes of a set.
func routes(set upstream.Set) string {
	var list []string
	for _, b := range set.Routes() {
		list = append(list, b.Upstream+": "+b.Route.Text())
	}
	return strings.Join(list, "\n")
}

func TestLayouts(t *testing.T) {
	layout := func(name, prefix string) func(*Config) {
		return func(c *Config) { c.Layout, c.Prefix = name, prefix }
	}
	chipmunk := func(ip, port, auth string) string {
		return `{"name": "shop.1.x", "host": {"ip": ` + ip + `, "port": ` + port + `}, "auth_backend": ` + auth + `}`
	}
	for _, test := range []struct {
		name    string
		config  func(*Config)
		pairs   []string
		want    string
		routes  string
		out     []string // parts of it, in order
		foreign []string
	}{
		{
			name: "swallowkeeper",
			pairs: []string{
				key("web", "1"), `{"address":"10.0.0.1:8080","weight":1,"healthy":true,"tags":[],"routes":[]}`,
				key("web", "n1/c1"), `{"address":"[2001:db8::1]:80","weight":5,"max_fails":1,"fail_timeout":"5s","max_conns":9,"backup":true}`,
				key("web", "twice"), value("10.0.0.1:8080"),
				key("web", "down"), `{"address":"10.0.0.2:80","healthy":false}`,
				"/swallowkeeper/services/idle", "{}", "/swallowkeeper/services/idle2", " { } ",
				"/swallowkeeper/services/web", "{}",
				"/swallowkeeper/services//x", "{}", "/swallowkeeper/services/web/", "{}",
			},
			want: "idle[] idle2[] web[10.0.0.1:8080 [2001:db8::1]:80]",
			out:  []string{`web|10.0.0.2:80||key "/swallowkeeper/services/web/down" says healthy = false`},
			foreign: []string{
				"/swallowkeeper/services//x", "/swallowkeeper/services/web/",
			},
		},
		{
			name: "swallowkeeper, wrong values",
			pairs: []string{
				key("web", "a"), `{"address":"web.example:80"}`, key("web", "b"), `{"address":"10.0.0.1"}`, key("web", "c"), `{"address":"10.0.0.1:80","heathy":false}`,
				key("web", "d"), `{"weight":1}`, key("web", "e"), `null`, key("web", "f"), `{"address":"10.0.0.1:80"} x`, key("web", "g"), `{"address":"10.0.0.1:80","weight":0}`,
				key("web", "h"), `{"address":"10.0.0.1:80","weight":"1"}`, key("web", "i"), "\xff", key("web", "j"), "", key("web", "k"), `{"address":"0.0.0.0:80"}`,
				key("web", "l"), `{"address":"10.0.0.1:80","fail_timeout":"1.5s"}`, key("web", "m"), strings.Repeat(" ", mostValue) + "{}", "/swallowkeeper/services/api", value("10.0.0.1:80"),
				key("../x", "1"), value("10.0.0.1:80"), key("10.0.0.1", "1"), value("10.0.0.1:80"), key("we;b", "1"), value("10.0.0.1:80"),
			},
			want: "api[] web[]",
			out: []string{
				"..|||the name has characters", "10.0.0.1|||the name is an IP address", "has no ID", "web.example", `"10.0.0.1" is no address with a port`, `unknown field "heathy"`,
				"it has no address", "it has no address", "there is more behind the end", "weight 0 is not between 1", `"weight": no string is allowed there`, "it is no JSON: invalid character",
				"it ends too early", "0.0.0.0 means every address", `fail_timeout: no "1.5s" is allowed there`, "it has 65538 bytes, at most 65536", "we;b|||the name has characters",
			},
		},
		{
			name: "another prefix, without a slash at both ends", config: layout("swallowkeeper", "a/b/"),
			pairs: []string{"a/b/services/web/1", value("10.0.0.1:80")}, want: "web[10.0.0.1:80]",
		},
		{
			name: "include and exclude", config: func(c *Config) { c.Include, c.Exclude = []string{"web-*"}, []string{"*-internal"} },
			pairs: []string{key("web-a", "1"), value("10.0.0.1:80"), key("web-internal", "1"), value("10.0.0.1:80"), key("api", "1"), "?"}, want: "web-a[10.0.0.1:80]",
		},
		{
			name: "chipmunks", config: layout("chipmunks", ""),
			pairs: []string{
				"/chipmunks/n1/shop/c1", chipmunk(`"10.0.0.1"`, "8080", "null"), "/chipmunks/n2/shop/c2", chipmunk(`"10.0.0.2"`, `"8081"`, "null"),
				"/chipmunks/n2/shop/c3", chipmunk(`"10.0.0.1"`, "8080", "null"), // the same instance twice is one
				"/chipmunks/n1/user_api/c1", chipmunk(`"10.0.0.3"`, "80", `"/auth/verify"`),
				"/chipmunks/n1/free/c1", `{"host":{"ip":"10.0.0.4","port":80},"auth_backend":"/auth","auth_bypass":true,"authorize":true}`,
				"/chipmunks/n1/", "{}", "/chipmunks/N1/shop/c1", "{}", "/chipmunks/n1/1shop/c1", "{}", "/chipmunks/n1/shop/c1/x", "{}", "/chipmunks/n1/sh.op/c1", "{}",
			},
			want:    "free[10.0.0.4:80] shop[10.0.0.1:8080 10.0.0.2:8081] user_api[10.0.0.3:80]",
			routes:  "free: /free/* from=dc\nshop: /shop/* from=dc\nuser_api: /user_api/* auth=/auth/verify from=dc",
			foreign: []string{"/chipmunks/N1/shop/c1", "/chipmunks/n1/", "/chipmunks/n1/1shop/c1", "/chipmunks/n1/sh.op/c1", "/chipmunks/n1/shop/c1/x"},
		},
		{
			name: "chipmunks, who is asked", config: layout("chipmunks", ""),
			pairs: []string{
				"/chipmunks/n1/auth/c1", `{"host":{"ip":"10.0.0.1","port":80},"auth_backend":"/auth/verify","authorize":true}`,
				"/chipmunks/n1/open/c1", `{"host":{"ip":"10.0.0.2","port":80},"auth_backend":"/auth","auth_bypass":true}`,
				"/chipmunks/n1/said/c1", `{"host":{"ip":"10.0.0.3","port":80},"auth_backend":null,"auth_bypass":false}`,
				"/chipmunks/n1/void/c1", `{"host":{"ip":"10.0.0.4","port":80},"auth_backend":""}`,
			},
			want:   "auth[10.0.0.1:80] open[10.0.0.2:80] said[10.0.0.3:80] void[10.0.0.4:80]",
			routes: "auth: /auth/* from=dc\nopen: /open/* from=dc",
			out:    []string{`said||/said/*|key "/chipmunks/n1/said/c1": auth_bypass is not true`, `void||/void/*|key "/chipmunks/n1/void/c1": auth_bypass is not true`},
		},
		{
			name: "chipmunks, with a backend for all", config: func(c *Config) { c.Layout, c.DefaultRoute = "chipmunks", "/{name}/* auth=/login timeout=2s" },
			pairs: []string{
				"/chipmunks/n1/auth/c1", `{"host":{"ip":"10.0.0.1","port":80},"authorize":true}`,
				"/chipmunks/n1/none/c1", chipmunk(`"10.0.0.2"`, "80", "null"),
				"/chipmunks/n1/said/c1", `{"host":{"ip":"10.0.0.3","port":80},"auth_bypass":false}`,
				"/chipmunks/n1/shop/c1", chipmunk(`"10.0.0.4"`, "80", `"/shop-auth"`),
			},
			want: "auth[10.0.0.1:80] none[10.0.0.2:80] said[10.0.0.3:80] shop[10.0.0.4:80]",
			routes: "auth: /auth/* timeout=2s from=dc\nnone: /none/* timeout=2s auth=/login from=dc\nsaid: /said/* timeout=2s auth=/login from=dc\n" +
				"shop: /shop/* timeout=2s auth=/shop-auth from=dc",
		},
		{
			name: "chipmunks, wrong values", config: layout("chipmunks", ""),
			pairs: []string{
				"/chipmunks/n1/shop/a", chipmunk(`"10.0.0.1"`, "0", "null"), "/chipmunks/n1/shop/b", chipmunk(`"10.0.0.1;"`, "80", "null"), "/chipmunks/n1/shop/c", chipmunk("null", "80", "null"),
				"/chipmunks/n1/shop/d", chipmunk(`"10.0.0.1"`, "null", "null"), "/chipmunks/n1/shop/e", `{"name":"x"}`, "/chipmunks/n1/shop/f", chipmunk(`"10.0.0.1"`, `"80;"`, "null"),
				"/chipmunks/n1/shop/g", "[]", "/chipmunks/n1/auth/a", chipmunk(`"10.0.0.2"`, "80", `"/auth; } location / {"`),
			},
			want: "auth[10.0.0.2:80] shop[]",
			out: []string{
				`auth||/auth/*|key "/chipmunks/n1/auth/a": auth`, "port 0", `"10.0.0.1;" is no IP address`, "it has no host.ip", "it has no host.port", "it has no host", `is no port`, "it is no JSON object but a value of kind array",
			},
		},
		{
			name: "endpoints", config: layout("endpoints", "/services"),
			pairs: []string{
				"/services/web/10.0.0.1:80", `{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}`, "/services/team/api/e1", `{"Op":0,"Addr":"10.0.0.2:80","Metadata":{"weight":3}}`,
				"/services/web/x", `{"Op":1,"Addr":"10.0.0.3:80"}`, "/services/web/y", `{"Op":0,"Addr":""}`, "/services/10.0.0.9:80", `{"Addr":"10.0.0.9:80"}`, "/services/web/", "{}",
			},
			want: "api[10.0.0.2:80] services[10.0.0.9:80] web[10.0.0.1:80]", out: []string{"it is a deletion", `"" is no address`}, foreign: []string{"/services/web/"},
		},
		{
			name: "registrator", config: layout("registrator", "/services"),
			pairs: []string{
				"/services/web/host:web_1:80", "10.0.0.1:32768", "/services/web/host:web_2:80", `{"host":"10.0.0.2","port":32769}`, "/services/web/6", "[2001:db8::1]:80",
				"/services/web/bad", "10.0.0.3:http", "/services/web/none", "",
			},
			want: "web[10.0.0.1:32768 10.0.0.2:32769 [2001:db8::1]:80]", out: []string{`"http" is no port`, `"" is no address`},
		},
		{
			name: "skydns2", config: layout("skydns2", "/skydns/local/services"),
			pairs: []string{"/skydns/local/services/web/h:c:80", `{"host":"10.0.0.1","port":80}`, "/skydns/local/services/web/x", `{"host":"web.example","port":80}`, "/skydns/local/services/web/y", `{"host":"10.0.0.1"}`},
			want:  "web[10.0.0.1:80]", out: []string{"web.example", "it has no port"},
		},
		{
			name: "routes",
			pairs: []string{
				key("web", "1"), `{"address":"10.0.0.1:80","routes":["shop.example/api/* strip", {"path":"/x/{id}","methods":["GET","PUT"],"timeout":"2s","websocket":false,"auth":"/auth","rewrite":"/y/{id}"}]}`,
				key("web", "2"), `{"address":"10.0.0.2:80"}`,
				key("api", "1"), `{"address":"10.0.0.3:80","routes":["/a;b","/*",{"path":"/ok","strip":true}]}`,
				key("odd", "1"), `{"address":"10.0.0.4:80","routes":[{"pth":"/x"}]}`, key("odd", "2"), `{"address":"10.0.0.5:80","routes":[{"path":"/x","strip":1}]}`,
				key("split", "1"), `{"address":"10.0.0.6:80","routes":["/a"]}`, key("split", "2"), `{"address":"10.0.0.7:80","routes":["/b"]}`, key("split", "3"), `{"address":"10.0.0.8:80","routes":["/b"],"healthy":false}`,
			},
			want:   "api[10.0.0.3:80] odd[] split[10.0.0.6:80 10.0.0.7:80] web[10.0.0.1:80 10.0.0.2:80]",
			routes: "web: shop.example/api/* strip=/api from=dc\nsplit: /b from=dc\napi: /ok strip=/ok from=dc\nweb: /x/{id} methods=GET,PUT rewrite=/y/{id} timeout=2s auth=/auth websocket=false from=dc",
			out: []string{
				`api||/*|key "/swallowkeeper/services/api/1": a route of every host and path is taken from`, `api||/a;b|key "/swallowkeeper/services/api/1": path "/a;b": ';' is not allowed in a path`, `unknown field "pth"`, "strip: no value other than", "split||/a|key", "split|10.0.0.8:80||",
			},
		},
		{
			name: "a route too many", pairs: []string{key("web", "1"), `{"address":"10.0.0.1:80","routes":["` + strings.Join(manyPaths(route.MaxRoutes+2), `","`) + `"]}`},
			want: "web[10.0.0.1:80]", routes: "web: " + strings.Join(manyPaths(route.MaxRoutes), " from=dc\nweb: ") + " from=dc",
			out: []string{`web||/100|key "/swallowkeeper/services/web/1": one upstream has at most 100 routes`},
		},
		{
			name: "a default route", config: func(c *Config) { c.DefaultRoute = "/{name}/* strip" },
			pairs:  []string{key("web", "1"), value("10.0.0.1:80"), key("api", "1"), `{"address":"10.0.0.3:80","routes":["/other"]}`},
			want:   "api[10.0.0.3:80] web[10.0.0.1:80]",
			routes: "api: /other from=dc\nweb: /web/* strip=/web from=dc",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := fill(t, test.config, test.pairs...)
			set := all.set()
			if got := show(set); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if diff := cmp.Diff(test.routes, routes(set)); diff != "" {
				t.Errorf("routes: %s", diff)
			}
			lines := strings.Split(outs(set), "\n")
			if outs(set) == "" {
				lines = nil
			}
			if len(lines) != len(test.out) {
				t.Errorf("%d are out, want %d:\n%s", len(lines), len(test.out), outs(set))
			} else {
				for i, want := range test.out {
					if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, want) }) {
						t.Errorf("out %d: nothing says %s:\n%s", i, want, outs(set))
					}
				}
			}
			if diff := cmp.Diff(test.foreign, sortedKeys(all.foreign)); diff != "" {
				t.Errorf("foreign: %s", diff)
			}
			for key := range all.entries {
				all.remove(key)
			}
			if got := all.set(); got.Len() != 0 || len(got.Out()) != 0 || all.broken != 0 || len(all.services) != 0 {
				t.Errorf("what is left of nothing: %s, %v, %d broken, %d services", show(got), got.Out(), all.broken, len(all.services))
			}
		})
	}
}

func TestServerOptions(t *testing.T) {
	set := fill(t, nil, key("web", "1"), `{"address":"[2001:db8::1]:80","weight":5,"max_fails":1,"fail_timeout":"5s","max_conns":9,"backup":true}`, key("web", "2"), value("10.0.0.1:80")).set()
	u, _ := set.Get("web")
	plain := upstream.DefaultTemplate().Server()
	plain.Addr, plain.Origin = u.Servers[0].Addr, "dc"
	made := u.Servers[1]
	if u.Servers[0] != plain || made.Weight != 5 || made.MaxFails != 1 || made.FailTimeout != seconds(5) || made.MaxConns != 9 || !made.Backup || made.Origin != "dc" {
		t.Errorf("got %+v", u.Servers)
	}
}

// A change of one key makes one service anew, and no other.
func TestOneKeyCostsOneService(t *testing.T) {
	all := fill(t, nil, key("web", "1"), value("10.0.0.1:80"), key("api", "1"), value("10.0.0.2:80"))
	before := all.set()
	all.put(pair{key: key("web", "1"), value: []byte(value("10.0.0.3:80")), revision: 99})
	if len(all.touched) != 1 || !all.touched["web"] {
		t.Errorf("%v are made anew", all.touched)
	}
	changed := 0
	for range upstream.Changed(before, all.set()) {
		changed++
	}
	if changed != 1 {
		t.Errorf("%d upstreams changed", changed)
	}
	all.put(pair{key: key("web", "1"), value: []byte("?"), revision: 99})
	if len(all.touched) != 0 {
		t.Error("a key of the same revision is read again")
	}
}

func FuzzValue(f *testing.F) {
	for _, value := range []string{"", "{}", "null", `{"address":"10.0.0.1:80","routes":["/x",{"path":"/y"}]}`, `{"host":{"ip":"10.0.0.1","port":"80"},"auth_backend":"/a"}`, "10.0.0.1:80", `{"Op":0,"Addr":"[::1]:80"}`} {
		f.Add("web/1", value)
		f.Add("n1/web/c1", value)
	}
	f.Fuzz(func(t *testing.T, rest, value string) {
		for name := range layouts {
			c := DefaultConfig()
			c.Layout, c.Prefix = name, "/p"
			all := newTable(&c, "dc", upstream.Defaults{All: upstream.DefaultTemplate()})
			all.put(pair{key: c.keys() + rest, value: []byte(value), revision: 1})
			for u := range all.set().All() {
				if err := u.Valid(); err != nil {
					t.Errorf("%s: %+v: %v", name, u, err)
				}
			}
		}
	})
}
