package access_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/doctor/access"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/internal/nginxtest"
)

// The clients of the tables: this machine's usual address, and two others of its loopback
// network that stand for other machines.
var clients = []string{"127.0.0.1", "127.77.9.9", "127.78.1.1"}

const (
	nobody   = ""
	own      = "127.0.0.1"
	other    = "127.77.9.9"
	everyone = "127.0.0.1 127.77.9.9 127.78.1.1"
)

// handler answers as the dyups API does: it knows some URIs only.
const handler = `content_by_lua_block { if not ngx.var.uri:match("^/upstream/[^/]+$") then return ngx.exit(404) end ngx.say("got in") }`

// decided are configurations and who gets to HANDLER, as nginx itself decides it.
var decided = []struct {
	name   string
	http   string
	server string
	place  string // "" for location / { HANDLER; }
	listen string // parameters of listen
	in     string
	unsure bool // it can't be told by the configuration
}{
	{name: "no limit", in: everyone},

	// ngx_http_access_module: "The rules are checked in sequence until the first match is found."
	{name: "deny all", server: "deny all;", in: nobody},
	{name: "one allowed", server: "allow 127.0.0.1; deny all;", in: own},
	{name: "allowed behind deny all", server: "deny all; allow 127.0.0.1;", in: nobody},
	{name: "all of IPv4 before deny all", server: "allow 0.0.0.0/0; deny all;", in: everyone},
	{name: "two halves before deny all", server: "allow 0.0.0.0/1; allow 128.0.0.0/1; deny all;", in: everyone},
	{name: "allow all before deny all", server: "allow all; deny all;", in: everyone},
	{name: "allowed alone limits nothing", server: "allow 127.0.0.1;", in: everyone},
	{name: "one denied", server: "deny 127.77.9.9;", in: "127.0.0.1 127.78.1.1"},
	{name: "all of IPv4 denied", server: "deny 0.0.0.0/0;", in: nobody},
	{name: "all of IPv6 denied", server: "deny ::/0;", in: everyone},
	{name: "denied within an allowed network", server: "deny 127.77.9.9; allow 127.77.0.0/16; allow 127.0.0.1; deny all;", in: own},
	{name: "a network with bits behind its mask", server: "allow 127.77.1.2/16; deny all;", in: other},
	{name: "a socket's rule", server: "deny unix:;", in: everyone},

	// "Inherited from the previous level": only where a level has no rule at all.
	{name: "from http", http: "deny all;", in: nobody},
	{name: "from http, own in server", http: "deny all;", server: "allow 127.77.9.9;", in: everyone},
	{name: "a rule for IPv6 takes the others' place", http: "deny all;", server: "deny ::1;", in: everyone},
	{name: "a rule for sockets takes the others' place", server: "deny all;", place: "location / { allow unix:; HANDLER; }", in: everyone},
	{name: "the location's own", server: "deny all;", place: "location / { allow 127.0.0.1; deny all; HANDLER; }", in: own},
	{name: "a nested location", place: "location / { deny all; location /upstream { HANDLER; } }", in: nobody},
	{name: "a nested location with its own", place: "location / { deny all; location /upstream { allow all; HANDLER; } }", in: everyone},
	{name: "another location's rules", place: "location / { HANDLER; } location /other { deny all; }", in: everyone},
	{name: "limit_except's rules for what it names", place: "location / { limit_except POST GET DELETE { deny all; } HANDLER; }", in: everyone},
	{name: "limit_except has no content for the rest", place: "location / { limit_except GET { allow all; } HANDLER; }", in: nobody},

	// satisfy, auth_basic, auth_request
	{name: "a password", server: `auth_basic x; auth_basic_user_file DIR/users;`, in: nobody},
	{name: "a password without a file", server: `auth_basic x;`, in: everyone},
	{name: "a password that is off", server: `auth_basic off; auth_basic_user_file DIR/users;`, in: everyone},
	{name: "a password that the location takes off", server: `auth_basic x; auth_basic_user_file DIR/users;`, place: "location / { auth_basic off; HANDLER; }", in: everyone},
	{name: "a password by a map", http: `map $remote_addr $realm { default x; 127.0.0.1 off; }`, server: `auth_basic $realm; auth_basic_user_file DIR/users;`, in: own},
	{name: "a password and an address", server: `allow 127.0.0.1; deny all; auth_basic x; auth_basic_user_file DIR/users;`, in: nobody},
	{name: "a password or an address", server: `satisfy any; allow 127.0.0.1; deny all; auth_basic x; auth_basic_user_file DIR/users;`, in: own},
	{name: "a password or any address", server: `satisfy any; allow all; auth_basic x; auth_basic_user_file DIR/users;`, in: everyone},
	{name: "a password or no address", server: `satisfy any; deny all; auth_basic x; auth_basic_user_file DIR/users;`, in: nobody},
	{name: "any of one", server: `satisfy any; deny 127.77.9.9;`, in: "127.0.0.1 127.78.1.1"},
	{name: "any of an allowed address and no rule that fits", server: `satisfy any; allow 127.0.0.1;`, in: everyone},
	{name: "satisfy of http", http: "satisfy any;", server: `allow 127.0.0.1; deny all; auth_basic x; auth_basic_user_file DIR/users;`, in: own},
	{name: "another asked", server: "auth_request /auth; location = /auth { internal; return 403; }", in: nobody},
	{name: "another asked that lets in all", server: "auth_request /auth; location = /auth { internal; return 204; }", in: everyone},
	{name: "another asked, or an address", server: "satisfy any; allow 127.0.0.1; deny all; auth_request /auth; location = /auth { return 401; }", in: own},
	{name: "another asked but here", server: "auth_request /auth; location = /auth { return 403; }", place: "location / { auth_request off; HANDLER; }", in: everyone},

	// ngx_http_realip_module
	{name: "an address in X-Real-IP", http: "set_real_ip_from 0.0.0.0/0;", server: "allow 127.0.0.1; deny all;", in: everyone},
	{name: "an address in X-Forwarded-For", http: "set_real_ip_from 0.0.0.0/0; real_ip_header X-Forwarded-For;", server: "allow 127.0.0.1; deny all;", in: everyone},
	{name: "an address in a header of one's own", server: "set_real_ip_from 127.77.0.0/16; real_ip_header X-Client; allow 127.0.0.1; deny all;", in: "127.0.0.1 127.77.9.9"},
	{name: "an address of one that is denied", server: "set_real_ip_from 127.77.0.0/16; deny 127.77.9.9;", in: everyone},
	{name: "an address that nobody may have", server: "set_real_ip_from 0.0.0.0/0; deny all;", in: nobody},
	{name: "recursively", server: "set_real_ip_from 127.77.0.0/16; real_ip_header X-Forwarded-For; real_ip_recursive on; allow 127.0.0.1; deny all;", in: "127.0.0.1 127.77.9.9"},
	{name: "believed in the location", server: "allow 127.0.0.1; deny all;", place: "location / { set_real_ip_from 127.77.9.9; HANDLER; }", in: "127.0.0.1 127.77.9.9"},
	{name: "believed in the location, behind the if", server: "if ($remote_addr != 127.0.0.1) { return 403; }", place: "location / { set_real_ip_from 127.77.9.9; HANDLER; }", in: own},
	{name: "believed in the server, before the if", server: "set_real_ip_from 127.77.9.9; if ($remote_addr != 127.0.0.1) { return 403; }", in: "127.0.0.1 127.77.9.9"},
	{name: "the location's own take the server's place", server: "set_real_ip_from 127.78.1.1; allow 127.0.0.1; deny all;", place: "location / { set_real_ip_from 127.77.9.9; HANDLER; }", in: everyone},
	{name: "the connection's address", server: "set_real_ip_from 0.0.0.0/0; if ($realip_remote_addr != 127.0.0.1) { return 403; }", in: own},
	{name: "proxy_protocol without it", server: "set_real_ip_from 0.0.0.0/0; real_ip_header proxy_protocol; allow 127.0.0.1; deny all;", in: own},
	{name: "proxy_protocol", listen: "proxy_protocol", server: "set_real_ip_from 127.77.9.9; real_ip_header proxy_protocol; allow 127.0.0.1; deny all;", in: "127.0.0.1 127.77.9.9"},

	// ngx_http_rewrite_module runs before access is judged.
	{name: "return", server: "return 403;", in: nobody},
	{name: "return in another location", place: "location / { HANDLER; } location /x { return 403; }", in: everyone},
	{name: "if over an address", server: "if ($remote_addr != 127.0.0.1) { return 403; }", in: own},
	{name: "if over an address in the location", place: "location / { if ($remote_addr != 127.77.9.9) { return 444; } HANDLER; }", in: other},
	{name: "if with an expression", server: `if ($remote_addr !~ "^127\.(0|77)\.") { return 403; }`, in: "127.0.0.1 127.77.9.9"},
	{name: "if over geo", http: "geo $ops { default 0; 127.0.0.1 1; }", server: "if ($ops = 0) { return 403; }", in: own},
	{name: "if over the narrowest of geo", http: "geo $no { default 1; 127.0.0.0/8 0; 127.77.0.0/16 1; 127.77.9.9 0; 127.78.0.0/16 1; }", server: "if ($no) { return 403; }", in: "127.0.0.1 127.77.9.9"},
	{name: "if over geo with ranges", http: "geo $ops { ranges; default 0; 127.77.0.0-127.77.255.255 1; }", server: "if ($ops = 0) { return 403; }", in: other},
	{name: "if over geo that believes", http: "geo $ops { proxy 127.77.0.0/16; default 0; 127.0.0.1 1; }", server: "if ($ops = 0) { return 403; }", in: "127.0.0.1 127.77.9.9"},
	{name: "if over geo of a header", http: "geo $http_x_real_ip $ops { default 0; 127.0.0.1 1; }", server: "if ($ops = 0) { return 403; }", in: everyone},
	{name: "if over a map", http: `map $remote_addr $no { default 1; 127.0.0.1 0; ~^127\.78\. ""; }`, server: "if ($no) { return 403; }", in: "127.0.0.1 127.78.1.1"},
	{name: "if over a map of two", http: `map $request_method:$remote_addr $no { default 1; ~:127\.77\. 0; }`, server: "if ($no) { return 403; }", in: other},
	{name: "two ifs and a set", server: `set $no 1; if ($remote_addr = 127.0.0.1) { set $no 0; } if ($remote_addr = 127.77.9.9) { set $no ""; } if ($no) { return 403; }`, in: "127.0.0.1 127.77.9.9"},
	{name: "a header that everybody sends", server: `if ($http_user_agent = "") { return 403; }`, in: everyone},
	{name: "a host that everybody names", server: `if ($host != "ops.example") { return 403; }`, in: everyone},
	{name: "a secret", server: `if ($http_x_token != "c2VjcmV0") { return 403; }`, in: nobody},
	{name: "a URI that can be written otherwise", server: `if ($request_uri ~ ^/upstream) { return 403; }`, in: everyone},
	{name: "a method", server: `if ($request_method != GET) { return 405; }`, in: nobody},
	{name: "a name of the server", server: "server_name ops.example;", in: everyone},
	{name: "elsewhere by redirect", server: "if ($remote_addr != 127.0.0.1) { rewrite ^ https://example.com/ permanent; }", in: own},
	{name: "elsewhere by rewrite", server: "if ($remote_addr != 127.0.0.1) { rewrite ^ /denied last; } location = /denied { return 403; }", in: own},
	{name: "elsewhere by rewrite in the location", place: "location / { if ($remote_addr = 127.77.9.9) { rewrite ^ /denied last; } HANDLER; } location = /denied { return 403; }", in: "127.0.0.1 127.78.1.1"},
	{name: "here by rewrite", place: "location / { return 404; } location /api/ { allow 127.0.0.1; deny all; rewrite ^/api(/.*)$ $1 break; HANDLER; }", in: own},
	{name: "internal", place: "location / { internal; HANDLER; }", in: nobody},
	{name: "internal, and a way in", place: "location /api/ { rewrite ^/api(/.*)$ /in$1 last; } location /in/ { internal; allow 127.0.0.1; deny all; rewrite ^/in(/.*)$ $1 break; HANDLER; }", in: own},
	{name: "a named location", place: "location / { allow 127.0.0.1; deny all; try_files /none @api; } location @api { HANDLER; }", in: own},
	{name: "a named location's own rules", place: "location / { try_files /none @api; } location @api { deny 127.77.9.9; HANDLER; }", in: "127.0.0.1 127.78.1.1"},
	{name: "an exact location", place: "location = /upstream/x { allow 127.0.0.1; deny all; HANDLER; }", in: own},
	{name: "an exact location whose name the API does not know", place: "location = /x { HANDLER; }", in: nobody},
	{name: "a prefix that the API does not know", place: "location /api/ { HANDLER; }", in: nobody},
	{name: "an expression and a rewrite", place: `location ~ ^/api/ { rewrite ^/api(/.*)$ $1 break; HANDLER; }`, in: everyone, unsure: true},
	{name: "a location with an expression", place: `location ~ ^/up(stream|s)/ { deny 127.77.9.9; HANDLER; }`, in: "127.0.0.1 127.78.1.1"},
	{name: "a location that another hides", place: `location / { HANDLER; } location ~ ^/(upstream|list|detail) { deny all; } location /upstream/ { }`, in: nobody},
	{name: "a location that ^~ keeps from being hidden", place: `location ^~ /upstream/ { HANDLER; } location ~ ^/(upstream|list|detail) { deny all; }`, in: everyone},

	// Certificates, and what can't be told
	{name: "a certificate", listen: "ssl", server: "TLS ssl_client_certificate DIR/cert; ssl_verify_client on;", in: nobody},
	{name: "a certificate or none", listen: "ssl", server: "TLS ssl_client_certificate DIR/cert; ssl_verify_client optional;", in: everyone},
	{name: "a certificate that is asked for", listen: "ssl", server: "TLS ssl_client_certificate DIR/cert; ssl_verify_client optional; if ($ssl_client_verify != SUCCESS) { return 403; }", in: nobody},
	{name: "a certificate without TLS", server: "TLS ssl_client_certificate DIR/cert; ssl_verify_client on;", in: everyone},
	{name: "Lua judges", place: `location / { access_by_lua_block { if ngx.var.remote_addr ~= "127.0.0.1" then ngx.exit(403) end } HANDLER; }`, in: own, unsure: true},
	{name: "Lua sets", server: `set_by_lua_block $no { return ngx.var.remote_addr ~= "127.0.0.1" and "1" or "" } if ($no) { return 403; }`, in: own, unsure: true},
}

// TestWhoGetsIn compares the package's judgement with who really gets in.
func TestWhoGetsIn(t *testing.T) {
	for _, c := range decided {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			place := c.place
			if place == "" {
				place = "location / { HANDLER; }"
			}
			http := c.http + "\nserver {\n listen LISTEN " + c.listen + ";\n" + c.server + "\n" + place + "\n}"
			want := strings.Fields(c.in)
			if diff := strings.Join(judged(t, http), " "); diff != c.in && !c.unsure || c.unsure && diff != "" {
				t.Errorf("judged to let in %q, want %q", diff, c.in)
			}
			for name, program := range nginxtest.Programs() {
				conf := strings.ReplaceAll(http, "HANDLER", "dyups_interface")
				switch {
				case name == "nginx" && !nginxtest.Exists(nginxtest.Lua):
					continue
				case name == "nginx":
					conf = modules + strings.ReplaceAll(http, "HANDLER;", handler)
				case strings.Contains(http, "by_lua"):
					continue // Tengine has no Lua
				}
				t.Run(name, func(t *testing.T) {
					got := measured(t, program, conf, c.listen)
					if !slices.Equal(got, want) {
						t.Errorf("lets in %q, want %q", got, want)
					}
				})
			}
		})
	}
}

// modules begins a configuration that needs Lua.
const modules = "MODULES"

// judged is who gets in by the configuration alone.
func judged(t *testing.T, http string) []string {
	t.Helper()
	conf := strings.NewReplacer("HANDLER", "dyups_interface", "LISTEN", "127.0.0.1:18882", "TLS", "").Replace(http)
	tree := parse(t, conf)
	place := find(tree, "dyups_interface")
	var in []string
	for _, from := range clients {
		l := access.Listeners(tree, place.Around("server"))[0]
		if access.Lets(tree, place, l, netip.MustParseAddr(from)) {
			in = append(in, from)
		}
	}
	return in
}

func parse(t *testing.T, http string) *nginxtree.Tree {
	t.Helper()
	tree, err := nginxtree.ReadDump([]byte("# configuration file /n/nginx.conf:\nhttp {\n" + http + "\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func find(tree *nginxtree.Tree, name string) *nginxtree.Directive {
	var found *nginxtree.Directive
	tree.Walk(func(d *nginxtree.Directive) {
		if d.Name() == name {
			found = d
		}
	})
	return found
}

// measured starts nginx and tries as each client, with what a stranger would try.
func measured(t *testing.T, program, http, listen string) []string {
	t.Helper()
	dir := t.TempDir()
	cert, key := certificate(t)
	write(t, dir+"/cert", cert)
	write(t, dir+"/key", key)
	write(t, dir+"/users", "u:{PLAIN}p\n")
	address := nginxtest.Free(t)
	load := ""
	if strings.HasPrefix(http, modules) {
		http = strings.TrimPrefix(http, modules)
		load = "load_module /usr/lib/nginx/modules/ndk_http_module.so; load_module " + nginxtest.Lua + ";"
	}
	http = strings.NewReplacer("LISTEN", address, "TLS", "ssl_certificate DIR/cert; ssl_certificate_key DIR/key;").Replace(http)
	nginxtest.Start(t, program, dir, load, "upstream dyups_keep { server 127.0.0.1:1; }\n"+http, address)
	var in []string
	for _, from := range clients {
		if tries(t, address, from, listen) {
			in = append(in, from)
		}
	}
	return in
}

// tries reports whether one of a stranger's requests gets in.
func tries(t *testing.T, address, from, listen string) bool {
	t.Helper()
	for _, claim := range append([]string{""}, clients...) {
		transport := &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // its own certificate
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
				c, err := d.DialContext(ctx, network, addr)
				if err == nil && listen == "proxy_protocol" {
					ruling := claim
					if ruling == "" {
						ruling = from
					}
					_, err = fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 1000 80\r\n", ruling)
				}
				return c, err
			},
		}
		client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		scheme := "http://"
		if listen == "ssl" {
			scheme = "https://"
		}
		for _, host := range []string{"h", "ops.example"} {
			for _, path := range []string{"/upstream/x", "/./upstream/x", "/api/upstream/x", "/x"} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, scheme+address, strings.NewReader("server 127.0.0.1:1;"))
				if err != nil {
					t.Fatal(err)
				}
				r.URL.Opaque = path
				r.Host = host
				if claim != "" {
					for _, h := range []string{"X-Real-IP", "X-Forwarded-For", "X-Client"} {
						r.Header.Set(h, claim)
					}
				}
				resp, err := client.Do(r)
				if err != nil {
					continue // it hangs up, as return 444 does
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK && (string(text) == "got in\n" || string(text) == "success") {
					return true
				}
			}
		}
	}
	return false
}
