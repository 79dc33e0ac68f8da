package lua_test

import (
	"net/http"
	"strings"
	"testing"

	"swallowkeeper/internal/loopback"
)

// TestHostReachesWhatIsNamed: no Host header reaches an upstream by proxy.conf unless the
// configuration names it, and one that somebody made up leaves nothing in the error log.
func TestHostReachesWhatIsNamed(t *testing.T) {
	b := newBackends(t, 2)
	ports := loopback.Free(t, 2)
	closed, mapped := "http://"+ports[0], "http://"+ports[1]
	n := start(t, options{workers: 1, http: `
		server { listen ` + ports[0] + `;
			location / { include DIR/dyups/proxy.conf; }
			location /named { set $dyups_upstream web; include DIR/dyups/proxy.conf; }
			location /own { proxy_pass http://dyups; }
			location /led { error_page 418 = @led; return 418; }
			location @led { include DIR/dyups/proxy.conf; }
			location /looked { set $before $dyups_upstream; include DIR/dyups/proxy.conf; }
		}
		map $host $service { default ""; www.example.com web; api.example.com missing; }
		server { listen ` + ports[1] + `; location / { set $dyups_upstream $service; include DIR/dyups/proxy.conf; } }`})
	n.post("web", servers(b.addrs[:1], ""))
	n.post("secret", servers(b.addrs[1:], ""))
	for _, row := range []struct {
		base, host, path string
		status           int
		body             string
	}{
		{closed, "web", "/", 404, ""},
		{closed, "secret", "/", 404, ""},
		{closed, "nobody.example", "/", 404, ""},
		{closed, "secret", "/led", 404, ""},
		{closed, "secret", "/looked", 404, ""},
		{closed, "secret", "/named", 200, "0"},
		{closed, "secret", "/own", 200, "1"}, // a location of the operator's own, written for it
		{mapped, "www.example.com", "/", 200, "0"},
		{mapped, "WWW.Example.com:80", "/", 200, "0"},
		{mapped, "web", "/", 404, ""},
		{mapped, "secret", "/", 404, ""},
	} {
		got := ask(http.DefaultClient, row.base, row.host, row.path)
		if got.status != row.status || row.body != "" && got.body != row.body {
			t.Errorf("%s of %s: %+v, want %d %q", row.path, row.host, got, row.status, row.body)
		}
	}
	if log := n.log(); strings.Contains(log, "[error]") || strings.Contains(log, "[warn]") {
		t.Errorf("the error log:\n%s", log)
	}
	// What the configuration names and nobody posted is a mistake, and said.
	if got := ask(http.DefaultClient, mapped, "api.example.com", "/"); got.status != 502 || !strings.Contains(n.log(), "no upstream missing") {
		t.Errorf("%+v", got)
	}
}
