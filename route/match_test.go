package route_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/route"
)

func of(texts ...string) (all []route.Belonging) {
	for i, s := range texts {
		r, err := route.ParseText(s, "")
		if err != nil {
			panic(s + ": " + err.Error())
		}
		all = append(all, route.Belonging{Route: r, Upstream: string(rune('a' + i))})
	}
	return all
}

func TestMatch(t *testing.T) {
	table := of("/*", "/api/*", "/api/v1/*", "/api/v1/{id}", "/api/v1/{id:[0-9]+}", "/api/v1/all", "shop.example/*",
		"/api/v1/all methods=POST", "/exact", "/slash/", "/api/v1/{id}/items rewrite=/items/{id}", "/s/* strip=/s")
	for _, tt := range []struct{ method, host, path, want, to string }{
		{"GET", "x", "/", "/*", "/"},
		{"GET", "x", "/apix", "/*", "/apix"},
		{"GET", "x", "/api", "/api/*", "/api"},
		{"GET", "x", "/api/", "/api/*", "/api/"},
		{"GET", "x", "/api/v2/x", "/api/*", "/api/v2/x"},
		{"GET", "x", "/api/v1", "/api/v1/*", "/api/v1"},
		{"GET", "x", "/api/v1/x", "/api/v1/{id}", "/api/v1/x"},
		{"GET", "x", "/api/v1/42", "/api/v1/{id:[0-9]+}", "/api/v1/42"},
		{"GET", "x", "/api/v1/", "/api/v1/*", "/api/v1/"},
		{"GET", "x", "/api/v1/all", "/api/v1/all", "/api/v1/all"},
		{"POST", "x", "/api/v1/all", "/api/v1/all methods=POST", "/api/v1/all"},
		{"GET", "x", "/api/v1/42/items", "/api/v1/{id}/items rewrite=/items/{id}", "/items/42"},
		{"GET", "Shop.Example:8080", "/api", "shop.example/*", "/api"},
		{"GET", "x", "/exact", "/exact", "/exact"},
		{"GET", "x", "/exact/", "/*", "/exact/"},
		{"GET", "x", "/slash/", "/slash/", "/slash/"},
		{"GET", "x", "/slash", "/*", "/slash"},
		{"GET", "x", "/s", "/s/* strip=/s", "/"},
		{"GET", "x", "/s/a/b", "/s/* strip=/s", "/a/b"},
	} {
		taken := ""
		for _, v := range route.Match(table, tt.method, tt.host, tt.path) {
			if v.Takes != v.Why.IsZero() {
				t.Errorf("%s %s: %s takes %t, why %q", tt.method, tt.path, v.Route, v.Takes, v.Why)
			}
			if v.Takes {
				taken += v.Route.Text() + " " + v.To
			}
		}
		if taken != tt.want+" "+tt.to {
			t.Errorf("%s %s%s: %q takes it, want %s", tt.method, tt.host, tt.path, taken, tt.want)
		}
	}
	for _, v := range route.Match(of("a.example/x", "/y", "/x methods=GET", "/x"), "HEAD", "b.example", "/x") {
		want := map[string]string{"a.example/x": "it is for host a.example", "/y": "its path does not match", "/x methods=GET": "", "/x": "/x comes before it"}
		if got := v.Why.String(); got != want[v.Route.Text()] {
			t.Errorf("%s: %q", v.Route, got)
		}
	}
	if v := route.Match(of("/x methods=PUT"), "GET", "", "/x"); v[0].Why.String() != "it is for PUT" {
		t.Errorf("got %q", v[0].Why)
	}
}

func TestNormal(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/a/b": "/a/b", "/a//b": "/a/b", "/a/./b": "/a/b", "/a/../b": "/b", "/a/b/..": "/a/", "/a/b/.": "/a/b/",
		"/a%2fb/..%2fd//e": "/a/d/e", "/%2e%2e/x": "", "/..": "", "/a?b=/c": "/a", "/a#b": "/a", "/%zz": "", "/%0": "", "/a%00": "", "a": "", "": "",
		"/%7Efoo/": "/~foo/",
	} {
		got, ok := route.Normal(path)
		if got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t, want %q", path, got, ok, want)
		}
	}
}

// The order is total and the same whatever order it began with, and each route is found by a path that it alone is for.
func TestOrder(t *testing.T) {
	table := of("a.example/x/*", "b.example/x/*", "/x/y/z", "/x/y", "/x/{b:[0-9]+}/z", "/x/{b:[0-9]+}", "/x/{a}", "/x methods=GET", "/x", "/x/*", "/{a}", "/*")
	var want []route.Route
	for _, b := range table {
		want = append(want, b.Route)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // no secret
	for range 200 {
		got := slices.Clone(want)
		random.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		got = route.Canonical(got)
		if !slices.EqualFunc(got, want, route.Route.Identical) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}

func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"/x", "/x", true},
		{"/x/{a}", "/x/{b}", true},
		{"/x/{a...}", "/x/*", true},
		{"/x/{a:[0-9]+}", "/x/{b:[0-9]+}", true},
		{"/x/{a:[0-9]+}", "/x/{b}", false},
		{"/x", "/x/", false},
		{"a/x", "/x", false},
		{"/x methods=GET", "/x", false},
		{"/x methods=GET", "/x methods=GET,POST", true},
		{"/x methods=GET", "/x methods=POST", false},
	} {
		two := of(tt.a, tt.b)
		a, b := two[0].Route, two[1].Route
		if got := a.Claim() == b.Claim() && a.Clash(b); got != tt.want || (b.Claim() == a.Claim() && b.Clash(a)) != tt.want {
			t.Errorf("%s and %s: %t", tt.a, tt.b, got)
		}
	}
}

func TestElect(t *testing.T) {
	list := func(texts ...string) (l []route.Route) {
		for _, b := range of(texts...) {
			l = append(l, b.Route)
		}
		return l
	}
	a, b := list("/a"), list("/b", "/c")
	written := func(l ...route.Route) []route.Route { return l }
	for _, tt := range []struct {
		name    string
		claims  [][]route.Route
		written []route.Route
		want    string
		lost    int
		told    int
	}{
		{"nobody says anything", [][]route.Route{nil, nil}, nil, "", 0, 0},
		{"who says nothing does not vote", [][]route.Route{nil, a, nil}, nil, "/a", 0, 0},
		{"all agree", [][]route.Route{a, a}, b, "/a", 0, 0},
		{"most say so", [][]route.Route{a, b, a}, b, "/a", 1, 0},
		{"a tie: the first", [][]route.Route{b, a}, nil, "/b /c", 0, 1},
		{"a tie: the written one", [][]route.Route{b, a}, a, "/a", 0, 2},
		{"a tie: most of it is written", [][]route.Route{a, b}, written(b[1]), "/b /c", 0, 1},
		{"a tie of two beside one", [][]route.Route{a, b, a, b, list("/d")}, b, "/b /c", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			won, lost := route.Elect(tt.claims)
			got, told := route.Agreed(won, tt.written)
			var texts []string
			for _, r := range got {
				texts = append(texts, r.Text())
			}
			if strings.Join(texts, " ") != tt.want || len(lost) != tt.lost || len(told) != tt.told {
				t.Errorf("got %v, lost %v, told %v", texts, lost, told)
			}
		})
	}
	if u := route.Union(a, b, 2, 1); !slices.EqualFunc(u, a, route.Route.Same) {
		t.Errorf("the half with more servers: %v", u)
	}
	if u := route.Union(a, b, 1, 2); !slices.EqualFunc(u, b, route.Route.Same) {
		t.Errorf("the half with more servers: %v", u)
	}
	tie := route.Union(route.Union(a, b, 1, 1), list("/d"), 2, 2)
	for i, written := range [][]route.Route{a, b, list("/d")} {
		if got, _ := route.Agreed(tie, written); !slices.EqualFunc(got, written, route.Route.Same) {
			t.Errorf("side %d: got %v of %v", i, got, tie)
		}
	}
	both := slices.Clone(a)
	both[0].Origin = "one"
	other := slices.Clone(a)
	other[0].Origin = "two"
	if u := route.Union(both, other, 1, 1); len(u) != 1 || u[0].Origin != "one,two" {
		t.Errorf("both halves say so: %+v", u)
	}
}
