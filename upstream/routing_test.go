package upstream

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/internal/allocated"
	"swallowkeeper/route"
)

// routed is an upstream of one server with routes, written as their texts with " | " between them.
func routed(t testing.TB, name, routes string) Upstream {
	t.Helper()
	u := Upstream{Name: name, Servers: []Server{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, Origin: "r"}}}
	if routes == "" {
		return u
	}
	for text := range strings.SplitSeq(routes, " | ") {
		r, err := route.ParseText(text, name)
		if err != nil {
			t.Fatal(err)
		}
		r.Origin = "r"
		u.Routes = append(u.Routes, r)
	}
	return u
}

// table builds a set of lines such as "a: /x | /y".
func table(t testing.TB, lines ...string) Set {
	t.Helper()
	var list []Upstream
	for _, l := range lines {
		name, routes, _ := strings.Cut(l, ":")
		list = append(list, routed(t, name, strings.TrimSpace(routes)))
	}
	return NewSet(list)
}

func kept(s Set) []string {
	var all []string
	for _, b := range s.Routes() {
		r := b.Route
		r.Origin = ""
		all = append(all, b.Upstream+": "+r.Text())
	}
	slices.Sort(all)
	return all
}

func TestRouter(t *testing.T) {
	type lines = []string
	for _, tt := range []struct {
		name            string
		written, wanted lines
		configured      lines
		want            lines
		out             string // each as UPSTREAM ROUTE: code
		upstreams       int
	}{
		{name: "nothing contends", wanted: lines{"a: /x", "b: /y"}, want: lines{"a: /x", "b: /y"}},
		{name: "whoever has it keeps it", written: lines{"b: /x"}, wanted: lines{"a: /x", "b: /x"}, want: lines{"b: /x"}, out: "a /x: route-taken"},
		{name: "the first by name", wanted: lines{"b: /x", "a: /x"}, want: lines{"a: /x"}, out: "b /x: route-taken"},
		{name: "by another name of the variable", written: lines{"b: /{id}"}, wanted: lines{"a: /{x}", "b: /{id}"}, want: lines{"b: /{id}"}, out: "a /{x}: route-taken"},
		{name: "the same class in other words", written: lines{"b: /{id:[0-9a-f]+}"}, wanted: lines{"a: /{x:[a-f0-9]+}", "b: /{id:[0-9a-f]+}"}, want: lines{"b: /{id:[0-9a-f]+}"}, out: "a /{x:[a-f0-9]+}: route-taken"},
		{name: "a class within another one", wanted: lines{"a: /{x:[0-9]+}", "b: /{x:[0-9a-f]+}"}, want: lines{"a: /{x:[0-9]+}", "b: /{x:[0-9a-f]+}"}},
		{name: "classes that overlap", written: lines{"b: /{x:[a-c]+}"}, wanted: lines{"a: /{x:[b-d]+}", "b: /{x:[a-c]+}"}, want: lines{"b: /{x:[a-c]+}"}, out: "a /{x:[b-d]+}: route-ambiguous"},
		{name: "classes that overlap, by one upstream", wanted: lines{"a: /{x:[a-c]+} | /{x:[b-d]+}"}, want: lines{"a: /{x:[a-c]+}"}, out: "a /{x:[b-d]+}: route-ambiguous"},
		{name: "classes that overlap in a chain", wanted: lines{"a: /{x:[a-c]+}", "b: /{x:[b-e]+}", "c: /{x:[d-f]+}"}, want: lines{"a: /{x:[a-c]+}", "c: /{x:[d-f]+}"}, out: "b /{x:[b-e]+}: route-ambiguous"},
		{name: "classes that overlap, by the configuration", written: lines{"a: /{x:[a-c]+}"}, wanted: lines{"a: /{x:[a-c]+}", "b:"}, configured: lines{"b: /{x:[b-d]+}"}, want: lines{"b: /{x:[b-d]+}"}, out: "a /{x:[a-c]+}: route-ambiguous"},
		{name: "whoever had it is gone", written: lines{"b: /x"}, wanted: lines{"a: /x"}, want: lines{"a: /x"}},
		{name: "whoever had it wants it no more", written: lines{"b: /x"}, wanted: lines{"a: /x", "b:"}, want: lines{"a: /x"}},
		{name: "another host", wanted: lines{"a: one/x", "b: two/x"}, want: lines{"a: one/x", "b: two/x"}},
		{name: "other methods", wanted: lines{"a: /x methods=GET", "b: /x methods=POST", "c: /x"}, want: lines{"a: /x methods=GET", "b: /x methods=POST", "c: /x"}},
		{name: "one method of two", wanted: lines{"a: /x methods=GET", "b: /x methods=GET,POST"}, want: lines{"a: /x methods=GET"}, out: "b /x: route-taken"},
		{name: "who is out takes nothing", wanted: lines{"a: /x methods=GET", "b: /x methods=GET,POST", "c: /x methods=POST"}, want: lines{"a: /x methods=GET", "c: /x methods=POST"}, out: "b /x: route-taken"},
		{name: "other options are no contest with itself", written: lines{"a: /x/*"}, wanted: lines{"a: /x/* strip=/x"}, want: lines{"a: /x/* strip=/x"}},
		{name: "the configuration goes over registrations", written: lines{"a: /x"}, wanted: lines{"a: /x", "b:"}, configured: lines{"b: /x"}, want: lines{"b: /x"}, out: "a /x: route-configured"},
		{name: "the configuration goes over the same upstream's", wanted: lines{"a: /x/*"}, configured: lines{"a: /x/* strip=/x"}, want: lines{"a: /x/* strip=/x"}, out: "a /x/*: route-configured"},
		{name: "the configuration beside a registration", wanted: lines{"a: /x"}, configured: lines{"a: /y"}, want: lines{"a: /x", "a: /y"}},
		{name: "an upstream that is not there", wanted: lines{"a: /x"}, configured: lines{"b: /x"}, want: lines{"a: /x"}, out: "b /x: route-no-upstream"},
		{name: "who is asked is there", wanted: lines{"a: /x auth=b/v", "b:"}, want: lines{"a: /x auth=b/v"}},
		{name: "who is asked is not there", wanted: lines{"a: /x auth=c/v", "b: /x"}, want: lines{"b: /x"}, out: "a /x: route-no-auth-upstream"},
		{name: "an upstream twice", wanted: lines{"a: /x | /x auth=/v"}, want: lines{"a: /x"}, out: "a /x: route-same"},
		{name: "an upstream twice, and one is written", written: lines{"a: /x auth=/v"}, wanted: lines{"a: /x | /x auth=/v"}, want: lines{"a: /x auth=/v"}, out: "a /x: route-same"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wanted := table(t, tt.wanted...)
			var configured []route.Belonging
			for _, u := range slices.Collect(table(t, tt.configured...).All()) {
				for _, r := range u.Routes {
					r.Origin = ""
					configured = append(configured, route.Belonging{Route: r, Upstream: u.Name})
				}
			}
			var r Router
			got, out := r.Apply(wanted, table(t, tt.written...), configured)
			slices.Sort(tt.want)
			if !slices.Equal(kept(got), tt.want) {
				t.Errorf("kept are %q, want %q", kept(got), tt.want)
			}
			var why []string
			for o := range out.All() {
				why = append(why, o.Upstream+" "+o.Route+": "+o.Reason.Code())
			}
			if strings.Join(why, ", ") != tt.out {
				t.Errorf("out are %q, want %q", why, tt.out)
			}
			if got.Len() != wanted.Len() || got.Servers() != wanted.Servers() {
				t.Errorf("there are %d upstreams of %d servers, want %d of %d", got.Len(), got.Servers(), wanted.Len(), wanted.Servers())
			}
			again, _ := new(Router).Apply(got, got, nil)
			if !again.Equal(got) {
				t.Errorf("settled again it is %q", kept(again))
			}
		})
	}
}

// A router that goes from set to set says what a fresh one says of each, and no request has two routes.
func TestRouterFollows(t *testing.T) {
	texts := []string{"/x", "/x/*", "/x methods=GET", "/x methods=GET,POST", "one/x", "/{a}", "/{b}", "/y auth=s3/v", "/x/* strip=/x", "/{x:[a-c]+}", "/{x:[b-d]+}", "/{x:[b-d]+}/* methods=GET", "/{x:[c-e]{2}}/y"}
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // no secret
		crowd := 0                               // upstreams that all want one route: more than are altered one by one
		if seed%3 == 0 {
			crowd = fewAltered + 4
		}
		draw := func() Set {
			var list []Upstream
			for i := range crowd {
				if random.IntN(30) > 0 {
					list = append(list, routed(t, fmt.Sprintf("z%d", i), "/x"))
				}
			}
			for i := range 6 {
				if random.IntN(4) == 0 {
					continue
				}
				var routes []string
				for range random.IntN(3) {
					routes = append(routes, texts[random.IntN(len(texts))])
				}
				name := fmt.Sprintf("s%d", i)
				u := routed(t, name, strings.ReplaceAll(strings.Join(routes, " | "), "auth="+name+"/", "auth=s4/"))
				for j := range u.Routes {
					if random.IntN(4) == 0 {
						u.Routes[j].Side = 1 + random.IntN(2)
					}
				}
				list = append(list, u)
			}
			return NewSet(list)
		}
		var r Router
		var configured []route.Belonging
		wanted, written := draw(), Set{}
		for step := range 40 {
			switch random.IntN(4) {
			case 0:
				wanted = draw()
			case 1:
				for u := range draw().All() {
					wanted = wanted.With([]Upstream{u}, nil)
					break
				}
			case 2:
				wanted = wanted.Without([]string{fmt.Sprintf("s%d", random.IntN(6))})
			default:
				configured = nil
				for _, b := range draw().Routes() {
					if b.Route.Side, b.Route.Origin = 0, ""; random.IntN(3) == 0 {
						configured = append(configured, b)
					}
				}
			}
			got, out := r.Apply(wanted, written, configured)
			fresh, freshOut := new(Router).Apply(wanted, written, configured)
			if !got.Equal(fresh) || !out.same(freshOut) || got.routes != len(got.Routes()) {
				t.Fatalf("seed %d, step %d: got %q, out %v\nwant %q, out %v", seed, step, kept(got), slices.Collect(out.All()), kept(fresh), slices.Collect(freshOut.All()))
			}
			all := got.Routes()
			for i, a := range all {
				for _, b := range all[:i] {
					if a.Route.Excludes(b.Route) {
						t.Fatalf("seed %d, step %d: %s and %s both have %s", seed, step, a.Upstream, b.Upstream, a.Route)
					}
				}
			}
			for u := range got.All() {
				if err := u.Valid(); err != nil {
					t.Fatal(err)
				}
			}
			if random.IntN(3) > 0 {
				written = got
			}
		}
	}
}

func TestRouterCostsWhatChanged(t *testing.T) {
	cost := func(services int) allocated.Memory {
		var list []Upstream
		for u := range many(services).All() {
			u.Routes = routed(t, u.Name, "/"+u.Name+"/* | shop.example/"+u.Name).Routes
			list = append(list, u)
		}
		a := NewSet(list)
		other := list[services/2]
		other.Routes = routed(t, other.Name, "/other/*").Routes
		b := a.With([]Upstream{other}, nil)
		var r Router
		first, _ := r.Apply(a, Set{}, nil)
		r.Apply(a, first, nil)
		flip := false
		return allocated.By(20, func() {
			if flip = !flip; flip {
				r.Apply(b, first, nil)
			} else {
				r.Apply(a, first, nil)
			}
		})
	}
	allocated.Flat(t, "Router", cost(50), cost(5000))
}

func TestRoutesOf(t *testing.T) {
	of := func(addr, routes string) InstanceRoutes {
		return InstanceRoutes{Addr: addr, Routes: routed(t, "web", routes).Routes}
	}
	bad := InstanceRoutes{Addr: "4:1", Bad: []route.Bad{{Text: strings.Repeat("x", 600), Err: fmt.Errorf("it is long")}}}
	routes, out := RoutesOf("web", "web", []InstanceRoutes{of("1:1", "/x"), of("2:1", "/y"), of("3:1", "/x"), bad, of("5:1", "")})
	if len(routes) != 1 || routes[0].Where() != "/x" {
		t.Errorf("got %v", routes)
	}
	var why []string
	for _, o := range out {
		why = append(why, fmt.Sprintf("%s %.10s %s", o.Addr, o.Route, o.Reason))
	}
	if got := strings.Join(why, " | "); got != "4:1 xxxxxxxxxx it is long | 2:1 /y more instances of the service, or what is written, say otherwise" {
		t.Errorf("out are %q", got)
	}
}
