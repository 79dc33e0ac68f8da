package nginx

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// TestNginxTakesWhatRoutesSay: on a real nginx requests go where package route says that they go, whatever routes there are
// beside one another.
func TestNginxTakesWhatRoutesSay(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		t.Skip("no nginx is installed here")
	}
	const sets, requests, names = 60, 60, 5
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // it shall be the same each time
	http := maps
	for i := range names {
		address := nginxtest.Free(t)
		http += fmt.Sprintf("upstream u%d { server %s; }\nserver { listen %s; return 200 \"u%d $request_uri\"; }\n", i, address, address, i)
	}
	var all []upstream.Set
	var servers []string
	for range sets {
		set := randomSet(t, random, names)
		files, err := locations(set, random.IntN(2) == 0)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
		server := nginxtest.Free(t)
		http += "server { listen " + server + "; root /nonexistent;\n"
		for _, f := range files {
			if f.path != mapFile {
				http += string(f.text)
			}
		}
		http += "}\n"
		all, servers = append(all, set), append(servers, server)
	}
	nginxtest.Start(t, nginxtest.Nginx, t.TempDir(), "", http, servers[0])
	for i, set := range all {
		for range requests {
			method, path := []string{"GET", "GET", "POST", "PUT"}[random.IntN(4)], randomPath(random)
			want, told := expected(set, method, path)
			if !told {
				continue
			}
			if got := request(t, servers[i], method, path); got != want {
				t.Errorf("%s %s is %q, want %q of\n%s", method, path, got, want, texts(set))
			}
		}
	}
}

func texts(set upstream.Set) string {
	all := ""
	for _, b := range set.Routes() {
		all += b.Upstream + ": " + b.Route.Text() + "\n"
	}
	return all
}

// expected is what package route says. Where a route has another method, nginx can only go on to one that takes all of its
// paths: of other requests nothing is told.
func expected(set upstream.Set, method, path string) (string, bool) {
	var others []route.Pattern
	for _, v := range route.Match(set.Routes(), method, "any", path) {
		if !v.Takes {
			every := v.Route
			every.Methods = nil
			for _, a := range route.Match([]route.Belonging{{Route: every}}, method, "any", path) {
				if p, err := route.ParsePath(every.Path); err == nil && a.Takes {
					others = append(others, p)
				}
			}
			continue
		}
		p, _ := route.ParsePath(v.Route.Path)
		told := !slices.ContainsFunc(others, func(o route.Pattern) bool { return !p.Includes(o) })
		exact := slices.ContainsFunc(set.Routes(), func(b route.Belonging) bool { return b.Route.Path == path })
		if (place{pattern: p}).open() && path == p.Prefix() && !exact {
			return "308 " + path + "/", told
		}
		return v.Upstream + " " + v.To, told
	}
	return "none", true
}

func request(t *testing.T, address, method, path string) string {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		t.Fatal(err)
	case resp.StatusCode == http.StatusPermanentRedirect:
		return "308 " + resp.Header.Get("Location")
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusMethodNotAllowed:
		return "none"
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	return string(body)
}

func randomSet(t *testing.T, random *rand.Rand, names int) upstream.Set {
	t.Helper()
	of := map[int][]route.Route{}
	var routes []route.Route
	for range 2 + random.IntN(10) {
		r := route.Route{Path: randomPattern(random), Methods: randomMethods(random)}
		p, err := route.ParsePath(r.Path)
		if err != nil {
			continue
		}
		switch random.IntN(4) {
		case 0:
			r.Strip = p.Prefix()
		case 1:
			r.Rewrite = "/to"
			for _, s := range p {
				if s.Kind != route.Literal && s.Text != "" {
					r.Rewrite += "/{" + s.Text + "}"
				}
			}
		}
		if r.Valid("x") != nil || slices.ContainsFunc(routes, r.Excludes) {
			continue
		}
		routes = append(routes, r)
		n := random.IntN(names)
		of[n] = append(of[n], r)
	}
	var list []upstream.Upstream
	for n, routes := range of {
		list = append(list, upstream.Upstream{Name: fmt.Sprintf("u%d", n), Routes: routes})
	}
	return upstream.NewSet(list)
}

func randomMethods(random *rand.Rand) []string {
	return [][]string{nil, nil, nil, {"GET"}, {"POST"}, {"POST", "PUT"}}[random.IntN(6)]
}

func randomPattern(random *rand.Rand) string {
	path := ""
	for i := range random.IntN(4) {
		path += "/" + strings.ReplaceAll([]string{"a", "b", "a", "b", "1", "{v}", "{v:[0-9]+}", "{v:[a-z]{1,2}}", "{v:[a-c]+}", "{v:[0-9a-z]+}"}[random.IntN(10)], "v", fmt.Sprintf("v%d", i))
	}
	switch random.IntN(5) {
	case 0, 1:
		path += "/*"
	case 2:
		path += "/{rest...}"
	case 3:
		path += "/"
	}
	return path
}

func randomPath(random *rand.Rand) string {
	path := ""
	for range random.IntN(5) {
		path += "/" + []string{"a", "b", "c", "1", "12", "abc"}[random.IntN(6)]
	}
	if path == "" || random.IntN(4) == 0 {
		path += "/"
	}
	return path
}
