package caddy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/gateway/caddy"
	"swallowkeeper/internal/caddytestserver"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// both runs a test on both Caddys.
func both(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("2.6", func(t *testing.T) { test(t, actual(t, caddytestserver.Debian(t))) })
	t.Run("2.11", func(t *testing.T) { test(t, actual(t, caddytestserver.Module(t))) })
}

// every runs a test on the double, too.
func every(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Run("double", func(t *testing.T) { test(t, double(t, false)) })
	both(t, test)
}

// with is an upstream of one server with routes.
func with(t testing.TB, name, server string, routes ...string) upstream.Upstream {
	t.Helper()
	u := upstream.Upstream{Name: name, Servers: []upstream.Server{at(server)}}
	for _, text := range routes {
		r, err := route.ParseText(text, name)
		if err != nil {
			t.Fatal(err)
		}
		u.Routes = append(u.Routes, r)
	}
	u.Routes = route.Canonical(u.Routes)
	return u
}

func at(addr string) upstream.Server {
	s := upstream.DefaultTemplate().Server()
	s.Addr = netip.MustParseAddrPort(addr)
	return s
}

func set(list ...upstream.Upstream) upstream.Set { return upstream.NewSet(list) }

// change brings a gateway to a set as the syncer does.
func change(ctx context.Context, g *caddy.Gateway, want upstream.Set) error {
	live, err := g.Live(ctx)
	if err != nil {
		return err
	}
	want, _ = gateway.Admit(want, g.Abilities())
	_, err = g.Apply(ctx, upstream.Diff(live.Set, want))
	return err
}

func must(t testing.TB, g *caddy.Gateway, want upstream.Set) {
	t.Helper()
	if err := change(t.Context(), g, want); err != nil {
		t.Fatal(err)
	}
}

// backend answers with its name, and what it was asked for.
func backend(t testing.TB, name string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s prefix=%q body=%q upgrade=%q", name, r.Method, r.URL.RequestURI(), r.Header.Get("X-Forwarded-Prefix"), body, r.Header.Get("Upgrade"))
	})
}

func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// send sends a request with the path as it stands, over a connection of its own. Soon after a change Caddy may reset one.
func send(t testing.TB, site, method, host, path, body string, headers ...string) (status int, answer string) {
	t.Helper()
	var err error
	for range 5 {
		if status, answer, err = try(t, site, method, host, path, body, headers...); err == nil {
			return status, answer
		}
	}
	t.Fatalf("%s %s: %v", method, path, err)
	return 0, ""
}

func try(t testing.TB, site, method, host, path, body string, headers ...string) (status int, answer string, err error) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", site)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	text := method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n"
	if len(headers) == 0 {
		headers = []string{"Connection: close"}
	}
	for _, h := range headers {
		text += h + "\r\n"
	}
	if body != "" {
		text += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(conn, text+"\r\n"+body); err != nil {
		return 0, "", err
	}
	req := &http.Request{Method: method}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp.StatusCode, "", nil
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", err
	}
	return resp.StatusCode, string(got), nil
}

// TestCaddyTakesWhatRoutesSay: requests go where package route says that they go, whatever routes there are beside one
// another.
func TestCaddyTakesWhatRoutesSay(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		const sets, requests, names = 30, 60, 5
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // it shall be the same each time
		var servers []string
		for i := range names {
			servers = append(servers, serve(t, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "u%d %s", i, r.URL.RequestURI())
			}))
		}
		g := r.gateway(t)
		for range sets {
			s := randomSet(t, random, servers)
			must(t, g, s)
			for range requests {
				method, path := []string{"GET", "GET", "POST", "PUT"}[random.IntN(4)], randomPath(random)
				want := "the operator's"
				for _, v := range route.Match(s.Routes(), method, "any", path) {
					if v.Takes {
						want = v.Upstream + " " + v.To
					}
				}
				if _, got := send(t, r.site, method, "any", path, ""); got != want {
					t.Errorf("%s %s is %q, want %q of\n%s", method, path, got, want, texts(s))
				}
			}
		}
	})
}

func texts(set upstream.Set) string {
	all := ""
	for _, b := range set.Routes() {
		all += b.Upstream + ": " + b.Route.Text() + "\n"
	}
	return all
}

func randomSet(t *testing.T, random *rand.Rand, servers []string) upstream.Set {
	t.Helper()
	of := map[int][]route.Route{}
	var routes []route.Route
	for range 2 + random.IntN(10) {
		r := route.Route{Path: randomPattern(random), Methods: [][]string{nil, nil, nil, {"GET"}, {"POST"}, {"POST", "PUT"}}[random.IntN(6)]}
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
		if r.Valid("x") != nil || slices.ContainsFunc(routes, r.Contends) {
			continue
		}
		routes = append(routes, r)
		n := random.IntN(len(servers))
		of[n] = append(of[n], r)
	}
	var list []upstream.Upstream
	for n, routes := range of {
		list = append(list, upstream.Upstream{Name: fmt.Sprintf("u%d", n), Routes: routes, Servers: []upstream.Server{at(servers[n])}})
	}
	return upstream.NewSet(list)
}

func randomPattern(random *rand.Rand) string {
	path := ""
	for i := range random.IntN(4) {
		path += "/" + strings.ReplaceAll([]string{"a", "b", "A", "b", "1", "{v}", "{v:[0-9]+}", "{v:[a-z]{1,2}}"}[random.IntN(8)], "v", fmt.Sprintf("v%d", i))
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
		path += "/" + []string{"a", "b", "A", "1", "12", "abc"}[random.IntN(6)]
	}
	if path == "" || random.IntN(4) == 0 {
		path += "/"
	}
	return path
}

// TestPathsAreNotDecodedTwice: what a route makes of a path is made of the bytes that were sent. A path that is written in a
// way that hides where it leads gets no answer from a server.
func TestPathsAreNotDecodedTwice(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		must(t, r.gateway(t), set(
			with(t, "strip", backend(t, "strip"), "/api/* strip=/api"),
			with(t, "rewrite", backend(t, "rewrite"), "/v/{id}/{rest...} rewrite=/w/{rest}/of/{id}"),
			with(t, "plain", backend(t, "plain"), "/plain/*"),
		))
		for _, tt := range []struct{ path, want string }{
			{"/api", "/"},
			{"/api/", "/"},
			{"/api?a=1", "/?a=1"},
			{"/api/x/y?a=/../b", "/x/y?a=/../b"},
			{"/api/x%20y", "/x%20y"},
			{"/api/%3fa=b", "/%3fa=b"},
			{"/api/%2523", "/%2523"},
			{"/api/%252e%252e/x", "/%252e%252e/x"},
			{"//api//x", "/x"},
			{"/api/{env.HOME}", "/%7Benv.HOME%7D"},
			{"/api/%7Bhttp.request.host%7D", "/%7Bhttp.request.host%7D"},
			{"/api/../api/x", "400"},
			{"/api/%2e%2e/api/x", "400"},
			{"/api/a%2f..%2fb", "400"},
			{"/%61pi/x", "400"},
			{"/API/x", "operator"},
			{"/v/7/a/b", "/w/a/b/of/7"},
			{"/v/a%20b/c", "/w/c/of/a%20b"},
			{"/v/7/a/../../../x", "operator"},
			{"/plain/a%2fb/c%3f", "/plain/a%2fb/c%3f"},
			{"/plain/../api/x", "400"},
		} {
			status, got := send(t, r.site, "GET", "any", tt.path, "")
			said := got
			if f := strings.Fields(got); status == http.StatusOK && len(f) > 2 {
				said = f[2]
			}
			switch {
			case status == http.StatusBadRequest && tt.want == "400", strings.Contains(got, "operator") && tt.want == "operator":
			case said != tt.want:
				t.Errorf("%s is answered %d %s, want %s", tt.path, status, got, tt.want)
			}
		}
	})
}

// TestWhatRoutesSay: host, methods, prefix, WebSockets and the time that a route has.
func TestWhatRoutesSay(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		release := make(chan struct{})
		slow := serve(t, func(_ http.ResponseWriter, req *http.Request) {
			select {
			case <-release:
			case <-req.Context().Done():
			}
		})
		defer close(release)
		chat := serve(t, func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Upgrade") != "" {
				w.Header().Set("Upgrade", req.Header.Get("Upgrade"))
				w.Header().Set("Connection", "Upgrade")
				w.WriteHeader(http.StatusSwitchingProtocols)
				return
			}
			_, _ = io.WriteString(w, "no upgrade")
		})
		must(t, r.gateway(t), set(
			with(t, "any", backend(t, "any"), "/*"),
			with(t, "shop", backend(t, "shop"), "shop.example/api/* strip=/api", "shop.example/get methods=GET"),
			with(t, "slow", slow, "/slow timeout=200ms"),
			with(t, "chat", chat, "/chat/*", "/plain/* websocket=false"),
		))
		for _, tt := range []struct {
			method, host, path, want string
			status                   int
		}{
			{"GET", "other", "/x", "any GET /x ", 200},
			{"GET", "shop.example", "/api/x", `shop GET /x prefix="/api"`, 200},
			{"GET", "SHOP.example:8080", "/api/x", "shop GET /x", 200},
			{"GET", "shop.example.", "/api/x", "shop GET /x", 200},
			{"GET", "shop.example", "/other", "any GET /other ", 200},
			{"GET", "shop.example", "/get", "shop GET /get", 200},
			{"HEAD", "shop.example", "/get", "", 200},
			{"POST", "shop.example", "/get", "any POST /get", 200},
			{"GET", "any", "/slow", "", 504},
		} {
			began := time.Now()
			status, got := send(t, r.site, tt.method, tt.host, tt.path, "")
			if status != tt.status || !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s %s%s is answered %d %s, want %d %s", tt.method, tt.host, tt.path, status, got, tt.status, tt.want)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s took %s", tt.path, took)
			}
		}
		for _, tt := range []struct {
			path, protocol string
			status         int
		}{
			{"/chat/1", "websocket", 101},
			{"/chat/1", "WebSocket", 101},
			{"/chat/1", "h2c", 200},
			{"/plain/1", "websocket", 200},
		} {
			if status, got := send(t, r.site, "GET", "any", tt.path, "", "Connection: Upgrade", "Upgrade: "+tt.protocol); status != tt.status {
				t.Errorf("%s to %s is answered %d %s, want %d", tt.path, tt.protocol, status, got, tt.status)
			}
		}
	})
}

// TestAuth: another upstream is asked before a request, and only its 2xx lets the request pass.
func TestAuth(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		var code atomic.Int32
		var asked atomic.Value
		auth := serve(t, func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			asked.Store(fmt.Sprintf("%s %s for %s %s body=%q cookie=%q", req.Method, req.URL.RequestURI(), req.Header.Get("X-Original-Method"), req.Header.Get("X-Original-Uri"), body, req.Header.Get("Cookie")))
			w.WriteHeader(int(code.Load()))
		})
		g := r.gateway(t)
		want := set(
			with(t, "auth", auth),
			with(t, "shop", backend(t, "shop"), "/shop/* strip=/shop auth=auth/verify"),
			with(t, "open", backend(t, "open"), "/open"),
		)
		must(t, g, want)
		for _, tt := range []struct {
			code, status int
			want         string
		}{
			{200, 200, `shop POST /x?a=1 prefix="/shop" body="all of it"`},
			{204, 200, "shop POST /x?a=1"},
			{401, 401, ""},
			{403, 403, ""},
			{302, 302, ""},
			{500, 500, ""},
		} {
			code.Store(int32(tt.code))
			status, got := send(t, r.site, "POST", "any", "/shop/x?a=1", "all of it", "Connection: close", "Cookie: a=b")
			if status != tt.status || !strings.HasPrefix(got, tt.want) || tt.want == "" && strings.Contains(got, "shop") {
				t.Errorf("answered by %d the request gets %d %s, want %d %s", tt.code, status, got, tt.status, tt.want)
			}
		}
		if got, want := asked.Load(), `GET /verify for POST /shop/x?a=1 body="" cookie="a=b"`; got != want {
			t.Errorf("asked was %s, want %s", got, want)
		}
		if status, got := send(t, r.site, "GET", "any", "/open", ""); status != http.StatusOK || !strings.HasPrefix(got, "open") {
			t.Errorf("without a question: %d %s", status, got)
		}
		gone, _ := want.Get("auth")
		gone.Servers = []upstream.Server{at("127.0.0.1:1")}
		must(t, g, want.With([]upstream.Upstream{gone}, nil))
		if status, got := send(t, r.site, "GET", "any", "/shop/x", ""); status != http.StatusBadGateway {
			t.Errorf("with nobody there to ask: %d %s", status, got)
		}
		gone.Servers[0].Down = true
		must(t, g, want.With([]upstream.Upstream{gone}, nil))
		if status, got := send(t, r.site, "GET", "any", "/shop/x", ""); status != http.StatusServiceUnavailable {
			t.Errorf("with all down who could be asked: %d %s", status, got)
		}
		must(t, g, want.Without([]string{"auth"}))
		if status, got := send(t, r.site, "GET", "any", "/shop/x", ""); status != http.StatusServiceUnavailable {
			t.Errorf("with nobody to ask: %d %s", status, got)
		}
	})
}
