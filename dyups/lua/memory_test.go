package lua_test

import (
	"fmt"
	"net/http"
	"testing"

	"swallowkeeper/internal/loopback"
)

// TestMemoryIsGivenBack changes upstreams far more often than old texts would fit.
func TestMemoryIsGivenBack(t *testing.T) {
	n := start(t, options{workers: 1, dict: "256k"})
	for i := range 500 {
		n.post("app", tenServers(i, 0)+fmt.Sprintf("server 10.0.0.1:%d;", i+1))
		n.post(fmt.Sprintf("once%d", i), tenServers(i, 0))
		if status, _, _ := n.call(http.MethodDelete, fmt.Sprintf("/upstream/ONCE%d", i), ""); status != 200 {
			t.Fatalf("delete: %d", status)
		}
	}
}

// TestGarbageIsSwept: a worker that dies between two steps of a change leaves a text that no
// name leads to. One that is new may be of a change under way.
func TestGarbageIsSwept(t *testing.T) {
	port := loopback.Free(t, 1)[0]
	n := start(t, options{workers: 1, http: "server { listen " + port + `;
		location /make { content_by_lua_block { local d = ngx.shared.dyups; ngx.print((d:set("t/" .. d:incr("seq", 1), "x"))) } }
		location /count { content_by_lua_block {
			local n = 0
			for _, k in ipairs(ngx.shared.dyups:get_keys(0)) do if k:sub(1, 2) == "t/" then n = n + 1 end end
			ngx.print(n)
		} }
	}`})
	texts := func(path, want string) {
		t.Helper()
		if s := ask(http.DefaultClient, "http://"+port, "x", path); s.body != want {
			t.Errorf("%s: %+v, want %s", path, s, want)
		}
	}
	n.post("app", "server 127.0.0.1:1;")
	texts("/make", "true")
	n.post("b", "server 127.0.0.1:1;")
	n.call(http.MethodGet, "/list", "")
	texts("/count", "3")
	for i := range 1001 {
		n.post("b", fmt.Sprintf("server 127.0.0.1:%d;", i+1))
	}
	n.call(http.MethodGet, "/list", "")
	texts("/count", "2")
}

// TestFailuresOutliveAChange: a server that is left stays left when its upstream changes.
func TestFailuresOutliveAChange(t *testing.T) {
	n := start(t, options{workers: 1})
	b := newBackends(t, 2)
	dead := "server " + loopback.Refused(t) + " fail_timeout=60s;"
	n.post("app", dead+servers(b.addrs[:1], ""))
	ask(http.DefaultClient, n.proxy, "app", "/")
	for i := range 20 {
		n.post("app", dead+servers(b.addrs, fmt.Sprintf(" weight=%d", i%3+1)))
		if s := ask(http.DefaultClient, n.proxy, "app", "/"); s.tried != b.addrs[0] && s.tried != b.addrs[1] {
			t.Fatalf("after change %d the dead server was tried: %+v", i, s)
		}
	}
}

// TestFailureWithoutANextTry: a server that dies is left after its first failure, although
// nginx makes no second try, which would look at each server anyway.
func TestFailureWithoutANextTry(t *testing.T) {
	n := start(t, options{workers: 1, location: "proxy_next_upstream off; proxy_read_timeout 200ms;"})
	b := newBackends(t, 2)
	t.Cleanup(func() { close(b.free) })
	n.post("app", servers(b.addrs, " fail_timeout=60s"))
	for range 10 { // all goes well for some rounds
		ask(http.DefaultClient, n.proxy, "app", "/")
	}
	failed := ask(http.DefaultClient, n.proxy, "app", "/hold")
	if failed.status != http.StatusGatewayTimeout {
		t.Fatalf("%+v", failed)
	}
	for range 10 {
		if s := ask(http.DefaultClient, n.proxy, "app", "/"); s.status != 200 || s.tried == failed.tried {
			t.Fatalf("the server that failed was tried: %+v", s)
		}
	}
}
