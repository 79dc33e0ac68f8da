package lua_test

import (
	"strings"
	"testing"
)

const shop = "upstream Shop { server 127.0.0.1:7001; server 127.0.0.1:7002 weight=3 max_conns=4 max_fails=7 fail_timeout=77s backup; " +
	"server 127.0.0.1:7003 down; }\n"

const shopDetail = `Shop
server 127.0.0.1:7001 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0
server 127.0.0.1:7002 weight=3 max_conns=4 max_fails=7 fail_timeout=77 backup=1 down=0
server 127.0.0.1:7003 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=1

`

// blind makes the library look at the wrong places of nginx's memory.
const blind = `
	local ffi = require "ffi"
	local size = ffi.sizeof
	ffi.sizeof = function(what) return what == "uintptr_t" and 4 or size(what) end
`

// TestOwnUpstreamsOfNginx: the API lists what nginx.conf itself has, as Tengine's does, and not what
// nginx read in the conf file, which the API changes.
func TestOwnUpstreamsOfNginx(t *testing.T) {
	n := start(t, options{
		workers: 2, upstreams: "upstream web {\n  server 127.0.0.1:7004;\n}\n",
		http: "include UPSTREAMS*; " + shop + `upstream "a name" { server unix:/tmp/x; }
			server { listen unix:DIR/other.sock; location / { proxy_pass http://localhost:7001; } location /x { proxy_pass http://127.0.0.1:7001; } }`,
	})
	const web = "web\nserver 127.0.0.1:7004 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n"
	const odd = "a name\nserver unix:/tmp/x weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n"
	look := func(list, detail string) {
		t.Helper()
		if _, got, h := n.call("GET", "/list", ""); got != list || h.Get("X-Dyups-Static") != "dyups dyups_auth dyups_http localhost shop" {
			t.Errorf("list %q, header %q", got, h.Get("X-Dyups-Static"))
		}
		if _, got, _ := n.call("GET", "/detail", ""); got != detail {
			t.Errorf("detail:\n%s\nwant\n%s", got, detail)
		}
	}
	look("web\nShop\na name\n", web+shopDetail+odd)
	if status, got, _ := n.call("GET", "/upstream/SHOP", ""); status != 200 || got != "server 127.0.0.1:7001\nserver 127.0.0.1:7002\nserver 127.0.0.1:7003\n" {
		t.Errorf("%d %q", status, got)
	}
	if status, _, _ := n.call("DELETE", "/upstream/shop", ""); status != 404 {
		t.Errorf("one of nginx.conf was deleted: %d", status)
	}
	// What the file declared is gone when it was deleted, although nginx has read it.
	n.call("DELETE", "/upstream/web", "")
	look("Shop\na name\n", shopDetail+odd)
	// One that was posted is shown in the place of its twin.
	n.post("shop", "server 127.0.0.1:7005;")
	look("shop\na name\n", "shop\nserver 127.0.0.1:7005 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n"+odd)
	n.call("DELETE", "/upstream/shop", "")
	// A reload finds what nginx.conf has by then.
	n.write(n.dir+"/nginx.conf", strings.Replace(n.read(n.dir+"/nginx.conf"), shop, "upstream till { server 127.0.0.1:1; }", 1))
	n.reload()
	if _, got, _ := n.call("GET", "/list", ""); got != "till\na name\n" {
		t.Errorf("after the reload: %q", got)
	}
}

// TestOwnUpstreamsAreNotKnown: where nginx's memory is not as it is known, and no module tells, the
// answers say so, and nginx works all the same.
func TestOwnUpstreamsAreNotKnown(t *testing.T) {
	const module = `package.preload["ngx.upstream"] = function() return {
			get_upstreams = function() return { "dyups", "Shop", "localhost:3000" } end,
			get_servers = function() return { { addr = { "127.0.0.1:7001" }, weight = 2, fail_timeout = 9, max_fails = 3 } } end,
		} end
	`
	for _, row := range []struct{ name, before, header, detail string }{
		{"nothing tells", blind, "?", ""},
		{
			"Lua's module of upstreams tells", blind + module, "dyups localhost shop",
			"Shop\nserver 127.0.0.1:7001 weight=2 max_conns=0 max_fails=3 fail_timeout=9 backup=0 down=0\n\n",
		},
		{"that module does not know the upstream of dyups.conf", blind + strings.Replace(module, `"dyups"`, `"other"`, 1), "?", ""},
		{"all is well", "", "dyups dyups_auth dyups_http shop", shopDetail},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := start(t, options{workers: 1, http: shop, edit: func(conf string) string {
				return strings.Replace(conf, "init_by_lua_block {", "init_by_lua_block {"+row.before, 1)
			}})
			_, got, h := n.call("GET", "/detail", "")
			if h.Get("X-Dyups-Static") != row.header || got != row.detail {
				t.Errorf("header %q, detail %q", h.Get("X-Dyups-Static"), got)
			}
		})
	}
}
