package gateway_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/gateway"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

func TestAdmit(t *testing.T) {
	some := gateway.Abilities{Methods: []gateway.Method{{Name: "", Backup: true}, {Name: "ip_hash"}}}
	lone := some
	lone.LoneBackups = true
	bare := gateway.Abilities{Methods: []gateway.Method{{}, {Name: "random", Unweighted: true}}, NoBackups: true}
	of := func(name, method, servers string) upstream.Upstream { // b: a backup, s: another server
		u := upstream.Upstream{Name: name, Options: upstream.Options{Method: method}}
		for i, kind := range servers {
			u.Servers = append(u.Servers, upstream.Server{
				Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(i+1)), Weight: 1, Backup: kind == 'b',
			})
		}
		return u
	}
	change := func(u upstream.Upstream, change func(servers []upstream.Server)) upstream.Upstream {
		change(u.Servers)
		return u
	}
	down := func(all []upstream.Server) { all[0].Down = true }
	reasons := map[bool]string{false: "balancing method", true: "no backup servers"}
	heavy := func(all []upstream.Server) { all[0].Weight = 7 }
	for _, tt := range []struct {
		name      string
		abilities gateway.Abilities
		in, want  upstream.Upstream
		out       bool
	}{
		{"all of it can be done", some, of("a", "", "sb"), of("a", "", "sb"), false},
		{"a method without backups", some, of("a", "ip_hash", "sb"), of("a", "ip_hash", "ss"), false},
		{"a method with none", some, of("a", "ip_hash", "ss"), of("a", "ip_hash", "ss"), false},
		{"nothing but backups", some, of("a", "", "bb"), of("a", "", "ss"), false},
		{"nothing but backups, and that may be", lone, of("a", "", "bb"), of("a", "", "bb"), false},
		{"a method that it does not have", some, of("a", "least_conn", "s"), upstream.Upstream{}, true},
		{"nothing that it can do", gateway.Abilities{Methods: []gateway.Method{}}, of("a", "", "s"), upstream.Upstream{}, true},
		{"nothing is known of what it can do", gateway.Abilities{}, of("a", "any", "bb"), of("a", "any", "bb"), false},
		{"an nginx with a backup", gateway.Nginx(), of("a", "least_conn", "sb"), of("a", "least_conn", "sb"), false},
		{"an nginx with nothing but backups", gateway.Nginx(), of("a", "", "bb"), of("a", "", "ss"), false},
		{"an nginx with a method without backups", gateway.Nginx(), of("a", "random", "sb"), of("a", "random", "ss"), false},
		{"no backups beside others", bare, of("a", "", "ssb"), of("a", "", "ss"), true},
		{"no backups, and no other is up", bare, change(of("a", "", "sb"), down), change(of("a", "", "ss"), down), false},
		{"no backups, and nothing else", bare, of("a", "", "bb"), of("a", "", "ss"), false},
		{"weights", bare, change(of("a", "", "ss"), heavy), change(of("a", "", "ss"), heavy), false},
		{"weights beside a method without", bare, change(of("a", "random", "ss"), heavy), of("a", "random", "ss"), false},
		{"one weight for all", bare, change(of("a", "random", "s"), heavy), change(of("a", "random", "s"), heavy), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			beside := of("z", "", "s")
			in := upstream.NewSet([]upstream.Upstream{tt.in, beside})
			before := upstream.NewSet(slices.Collect(in.All()))
			want := []upstream.Upstream{beside}
			if len(tt.want.Servers) > 0 {
				want = append(want, tt.want)
			}
			a := tt.abilities
			if a.Methods != nil && len(a.Methods) == 0 {
				want = nil
			}
			got, out := gateway.Admit(in, a)
			if !got.Equal(upstream.NewSet(want)) {
				t.Errorf("admitted are %+v", slices.Collect(got.All()))
			}
			if tt.out != (len(out) > 0) || tt.out && (out[0].Upstream != "a" || !strings.Contains(out[0].Reason.String(), reasons[len(tt.want.Servers) > 0])) {
				t.Errorf("out are %+v", out)
			}
			if !in.Equal(before) {
				t.Error("what was wanted has changed")
			}
		})
	}
}

// A route is out as a whole where the gateway does not do a part of it, its upstream is not, and the conf file has all.
func TestAdmitRoutes(t *testing.T) {
	some := gateway.AllRoutes()
	without := func(change func(*gateway.Routes)) gateway.Routes {
		a := some
		change(&a)
		return a
	}
	for _, tt := range []struct {
		name, route string
		routes      gateway.Routes
		code        string // "" is that it is admitted
	}{
		{"all of it", "shop.example/a/{id}/* methods=GET strip=/a timeout=2s auth=/auth websocket=false", some, ""},
		{"none at all", "/a", gateway.Routes{}, "gateway-routes"},
		{"a host among some", "shop.example/a", without(func(a *gateway.Routes) { a.Hosts = []string{"shop.example"} }), ""},
		{"a host that is not among them", "shop.example/a", without(func(a *gateway.Routes) { a.Hosts = []string{} }), "gateway-route-host"},
		{"any host", "/a", without(func(a *gateway.Routes) { a.Hosts = []string{} }), ""},
		{"methods", "/a methods=GET", without(func(a *gateway.Routes) { a.Methods = false }), "gateway-route-methods"},
		{"strip", "/a strip=/a", without(func(a *gateway.Routes) { a.Strip = false }), "gateway-route-strip"},
		{"rewrite", "/a rewrite=/b", without(func(a *gateway.Routes) { a.Rewrite = false }), "gateway-route-rewrite"},
		{"timeout", "/a timeout=1s", without(func(a *gateway.Routes) { a.Timeout = false }), "gateway-route-timeout"},
		{"auth", "/a auth=/b", without(func(a *gateway.Routes) { a.Auth = false }), "gateway-route-auth"},
		{"auth by a path of its own", "/a auth=/b", without(func(a *gateway.Routes) { a.OwnAuth = false }), "gateway-route-own-auth"},
		{"auth by another upstream", "/a auth=b/c", without(func(a *gateway.Routes) { a.OwnAuth = false }), ""},
		{"websocket", "/a websocket=false", without(func(a *gateway.Routes) { a.NoWebSocket = false }), "gateway-route-websocket"},
		{"variables", "/a/{id}", without(func(a *gateway.Routes) { a.Variables = false }), "gateway-route-variables"},
		{"no variables", "/a/*", without(func(a *gateway.Routes) { a.Variables = false }), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := route.ParseText(tt.route, "web")
			if err != nil {
				t.Fatal(err)
			}
			plain, err := route.ParseText("/plain", "web")
			if err != nil {
				t.Fatal(err)
			}
			u := upstream.Upstream{
				Name: "web", Routes: []route.Route{r, plain},
				Servers: []upstream.Server{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}},
			}
			in := upstream.NewSet([]upstream.Upstream{u})
			for _, a := range []gateway.Abilities{{Routes: tt.routes}, gateway.Nginx()} {
				a.Routes = tt.routes
				got, out := gateway.Admit(in, a)
				admitted, _ := got.Get("web")
				want := 2
				switch {
				case tt.code == "gateway-routes":
					want = 0
				case tt.code != "":
					want = 1
				}
				if len(admitted.Routes) != want || len(admitted.Servers) != 1 || len(out) != 2-want {
					t.Errorf("admitted is %+v, out are %+v", admitted, out)
				}
				for _, o := range out {
					if o.Reason.Code() != tt.code || o.Upstream != "web" || o.Route == "" {
						t.Errorf("out is %+v", o)
					}
				}
			}
			if got := gateway.Loadable(in); !got.Equal(in) {
				t.Errorf("the file would have %v", got.Routes())
			}
		})
	}
}

// What was admitted with routes is admitted anew when they are gone: the answer is never an older one.
func TestAdmissionForgetsRoutes(t *testing.T) {
	var a gateway.Admission
	u := upstream.Upstream{Name: "web", Routes: []route.Route{{Path: "/a"}}, Servers: []upstream.Server{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}}}
	if got, out := a.Admit(upstream.NewSet([]upstream.Upstream{u})); got.RouteCount() != 0 || out.Len() != 1 {
		t.Errorf("admitted are %v, out %v", got.Routes(), out)
	}
	u.Routes, u.Name = nil, "api"
	for range 2 {
		if got, out := a.Admit(upstream.NewSet([]upstream.Upstream{u})); got.Len() != 1 || out.Len() != 0 || got.Names()[0] != "api" {
			t.Errorf("admitted are %v, out %v", got.Names(), out)
		}
	}
}
