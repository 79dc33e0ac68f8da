package doctor_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"swallowkeeper/doctor"
	"swallowkeeper/internal/nginxtest"
)

// chooses are configurations, a request, and whether the client chooses where it goes: then
// nginx looks the client's word up in DNS.
var chooses = []struct {
	name, http, server, location string
	path                         string // "" for /evil.test/x
	want                         bool
}{
	{name: "the host", location: "location / { proxy_pass http://$host; }", want: true},
	{name: "the header", location: "location / { proxy_pass http://$http_host; }", want: true},
	{name: "another header", location: "location / { proxy_pass http://$http_x_service; }", want: true},
	{name: "an argument", location: "location / { proxy_pass http://$arg_u; }", path: "/?u=evil.test", want: true},
	{name: "a cookie", location: "location / { proxy_pass http://$cookie_u; }", want: true},
	{name: "all arguments", location: "location / { proxy_pass http://$args; }", path: "/?evil.test", want: true},
	{name: "a part of the name", location: "location / { proxy_pass http://svc-$cookie_u; }", want: true},
	{name: "the URI behind the name", location: "location / { proxy_pass http://127.0.0.1:1$request_uri; }"},
	{name: "the URI without its slash", location: "location / { rewrite ^/(.*)$ $1 break; proxy_pass http://$uri; }", want: true},
	{name: "the whole address", location: "location / { set $to http://$host/x; proxy_pass $to; }", want: true},
	{name: "the whole address but the host", location: "location / { set $to http://127.0.0.1:1/$host; proxy_pass $to; }"},
	{name: "fastcgi", location: "location / { fastcgi_pass $host:9000; }", want: true},
	{name: "uwsgi", location: "location / { uwsgi_pass $host:9000; }", want: true},
	{name: "scgi", location: "location / { scgi_pass $host:9000; }", want: true},

	// Captures
	{name: "a named capture of the location", location: `location ~ ^/(?<svc>[a-z.-]+)/ { proxy_pass http://$svc; }`, want: true},
	{name: "likewise, as Perl and Python write it", location: `location ~ ^/(?P<svc>[a-z.-]+)/ { proxy_pass http://$svc; }`, want: true},
	{name: "likewise, with quotes", location: `location ~ "^/(?'svc'[a-z.-]+)/" { proxy_pass http://$svc; }`, want: true},
	{name: "a numbered capture of the location", location: `location ~ ^/([^/]+)/ { proxy_pass http://$1; }`, want: true},
	{name: "a capture of a list", location: `location ~ ^/(?<svc>evil|api)\.test/ { proxy_pass http://127.0.0.1:1/$svc; }`},
	{name: "a name of a list", location: `location ~ ^/(?<svc>web|api)/ { proxy_pass http://$svc; }`, path: "/web/evil.test"},
	{name: "the second capture", location: `location ~ ^/(x|evil)\.([a-z]+)/ { proxy_pass http://evil.$2; }`, want: true},
	{name: "the first of two", location: `location ~ ^/(web|api)/([a-z.]+) { proxy_pass http://127.0.0.1:1/$1; }`, path: "/web/evil.test"},
	{name: "an expression that Go does not know", location: `location ~ ^/(?!none)(?<svc>[a-z.]+)/ { proxy_pass http://$svc; }`, want: true},
	{name: "a capture of the server's name", server: `server_name ~^(?<svc>.+)$;`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "a numbered capture of the server's name", server: `server_name ~^(.+)$;`, location: "location / { proxy_pass http://$1; }", want: true},
	{name: "a capture of a rewrite", location: `location / { rewrite ^/([^/]+)/ /y; set $ups $1; proxy_pass http://$ups; }  location = /y { set $ups $1; proxy_pass http://$ups; }`, want: true},
	{name: "a capture of an if", location: `location / { set $ups 127.0.0.1:1; if ($host ~ ^(.*)$) { set $ups $1; } proxy_pass http://$ups; }`, want: true},
	{name: "a named capture of the server's if", server: `if ($http_x_service ~ ^(?<svc>.*)$) { set $a 1; }`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "a location within one that captures", location: `location ~ ^/(?<svc>[a-z.]+)/ { location ~ x$ { proxy_pass http://$svc; } }`, want: true},

	// set, in the order in which it runs
	{name: "a chain", server: "set $a $host;", location: "location / { set $b $a; set $c $b; proxy_pass http://$c; }", want: true},
	{name: "overwritten", location: "location / { set $a $host; set $a 127.0.0.1:1; proxy_pass http://$a; }"},
	{name: "overwritten behind", location: "location / { set $a 127.0.0.1:1; proxy_pass http://$a; set $a $host; }", want: true},
	{name: "set too late", location: "location / { set $b $a; set $a $host; proxy_pass http://127.0.0.1:1$b; }"},
	{name: "of the server", server: "set $a $host;", location: "location / { proxy_pass http://$a; }", want: true},
	{name: "of the server, overwritten", server: "set $a $host;", location: "location / { set $a 127.0.0.1:1; proxy_pass http://$a; }"},
	{name: "of the location around, which does not run", location: "location / { set $a evil.test; location /evil { set $b $a; proxy_pass http://127.0.0.1:1$b; } }"},
	{name: "of the location around, where the client's would be", location: "location / { set $a $host; location /evil { proxy_pass http://$a; } }"},
	{name: "in an if", location: `location / { set $a 127.0.0.1:1; if ($http_x_service) { set $a $http_x_service; } proxy_pass http://$a; }`, want: true},
	{name: "an if that passes", location: `location / { if ($http_x_service) { proxy_pass http://$host; } }`, want: true},

	// map, geo, split_clients
	{name: "a map with a default that is the host", http: `map $host $svc { default $host; a.test web; }`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "a map of constants", http: `map $host $svc { default 127.0.0.1:1; evil.test 127.0.0.1:2; }`, location: "location / { proxy_pass http://$svc; }"},
	{name: "a map that captures", http: `map $host $svc { default 127.0.0.1:1; ~^(?<n>.+)$ $n; }`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "a map that captures by number", http: `map $host $svc { ~^(.+)\.test$ $1.none; }`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "a map that captures a list", http: `map $host $svc { default 127.0.0.1:1; ~^(?<n>web|api)\.test$ $n; }`, location: "location / { proxy_pass http://$svc; }"},
	{name: "what a map captured", http: `map $host $svc { ~^(?<n>.+)$ 1; }`, location: "location / { if ($svc) { set $x 1; } proxy_pass http://$n; }", want: true},
	{name: "a map's own key", http: `map $host $svc { default 127.0.0.1:1; a.test $host; }`, location: "location / { proxy_pass http://$svc; }"},
	{name: "a map over a map", http: `map $http_x_service $a { default $http_x_service; } map $a $svc { default $a; }`, location: "location / { proxy_pass http://$svc; }", want: true},
	{name: "geo", http: `geo $svc { default 127.0.0.1:1; 10.0.0.0/8 127.0.0.1:2; }`, location: "location / { proxy_pass http://$svc; }"},
	{name: "split_clients", http: `split_clients $host $svc { 50% 127.0.0.1:1; * 127.0.0.1:2; }`, location: "location / { proxy_pass http://$svc; }"},

	// What the server says itself, and what is told apart before
	{name: "the server's own name", server: "server_name a.test;", location: "location / { proxy_pass http://127.0.0.1:1/$server_name; }"},
	{name: "a list by an if", server: `if ($host !~ ^(web|api)\.test$) { return 404; }`, location: "location / { proxy_pass http://$host; }"},
	{name: "a list by a map", http: "map $host $known { default 0; web.test 1; }", server: `if ($known = 0) { return 404; }`, location: "location / { proxy_pass http://$host; }"},
	{name: "a list by a map that lets others on", http: "map $host $bad { default 0; web.test 1; }", server: `if ($bad) { return 404; }`, location: "location / { proxy_pass http://$host; }", want: true},
	{name: "an if without an end", server: `if ($host !~ (web|api)) { set $x 1; }`, location: "location / { proxy_pass http://$host; }", want: true},
	{name: "an expression that fits more", server: `if ($host !~ (web|evil)) { return 404; }`, location: "location / { proxy_pass http://$host; }", want: true},
	{name: "names of a server that is not the default", http: "server { listen LISTEN; return 404; }", server: "server_name a.test b.test;", location: "location / { proxy_pass http://$host; }"},
	{name: "names of the default server", server: "server_name a.test b.test;", location: "location / { proxy_pass http://$host; }", want: true},
	{name: "another asked", server: "auth_request /auth; auth_request_set $svc $upstream_http_x_service; location = /auth { proxy_pass http://127.0.0.1:1; }", location: "location / { proxy_pass http://$svc; }"},
}

// TestClientChooses compares what is told with what a real nginx looks up.
func TestClientChooses(t *testing.T) {
	for _, c := range chooses {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conf := c.http + "\nserver { listen LISTEN;\n" + c.server + "\n" + c.location + "\n}\n"
			facts := testFacts("/n")
			tree, _, found := doctor.ReadNginx(t.Context(), doctor.NginxSource{
				File: "-", Stdin: strings.NewReader("# configuration file /n:\nhttp { resolver 127.0.0.1;\n" + conf + "}\n"),
			})
			facts.Nginx = tree
			found = append(found, doctor.Examine(facts)...)
			if told := slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == "client-chooses" }); told != c.want {
				t.Errorf("told: %v, want %v:\n%s", told, c.want, text(found))
			}
			for name, program := range nginxtest.Programs() {
				t.Run(name, func(t *testing.T) {
					dns := newDNS(t)
					address := nginxtest.Free(t)
					nginxtest.Start(t, program, t.TempDir(), "", "resolver "+dns.address+" ipv6=off; resolver_timeout 2s;\n"+
						strings.ReplaceAll(conf, "LISTEN", address), address)
					path := c.path
					if path == "" {
						path = "/evil.test/x"
					}
					r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Host = "evil.test"
					r.Header.Set("X-Service", "evil.test")
					r.Header.Set("Cookie", "u=evil.test")
					client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
					resp, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if got := dns.asked("evil.") || dns.asked("svc-evil"); got != c.want {
						t.Errorf("nginx looked the client's word up: %v, want %v (%s)", got, c.want, resp.Status)
					}
				})
			}
		})
	}
}

// dns answers that there is no name, and remembers which were asked for.
type dns struct {
	address string
	mu      sync.Mutex
	names   []string
}

func newDNS(t *testing.T) *dns {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dns{address: c.LocalAddr().String()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			d.mu.Lock()
			d.names = append(d.names, m.Questions[0].Name.String())
			d.mu.Unlock()
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeNameError, nil
			if answer, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return d
}

func (d *dns) asked(part string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.names, func(n string) bool { return strings.Contains(n, part) })
}

// TestOddConfigurations holds that what nginx would refuse is passed over.
func TestOddConfigurations(t *testing.T) {
	for _, conf := range []string{
		"map { ~(?<a>.) $a; proxy_pass http://$a; } server { location / { proxy_pass http://$a; set $b $1; } }",
		"server { if ( { return 1; } if () { set $a $b; } location { proxy_pass $a$b$1; } set $b $a; set $a $b; dyups_interface; }",
		"server { location ~ ( { dyups_interface; rewrite ( /x; try_files; } } geo { a b; proxy; } map $a { b; }",
		"server { proxy_pass http://$uri; if ($a) { dyups_interface; } } proxy_pass http://$host; limit_req; server { listen; dyups_interface; }",
	} {
		facts := testFacts("/n")
		facts.Nginx, _, _ = doctor.ReadNginx(t.Context(), doctor.NginxSource{
			File: "-", Stdin: strings.NewReader("# configuration file /n:\nhttp { " + conf + " }\n"),
		})
		if facts.Nginx == nil {
			t.Fatalf("%s is not read", conf)
		}
		doctor.Examine(facts)
	}
}
