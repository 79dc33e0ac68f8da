package nginxconf_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/internal/nginxconf"
)

const one = "server 10.0.0.1:80;"

var taken = []struct{ name, body, want string }{
	{"defaults of nginx", one, "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"port left out", "server 10.0.0.1;", "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"IPv6 without a port", "server [::1];", "server [::1]:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"localhost", "server localhost:81;", "server 127.0.0.1:81 weight=1 max_fails=1 fail_timeout=10s;"},
	{"unix socket", "server unix:/run/a.sock down;", "server 0.0.0.0:0 weight=1 max_fails=1 fail_timeout=10s down;"},
	{"last of two parameters", "server 10.0.0.1:80 weight=2 weight=3;", "server 10.0.0.1:80 weight=3 max_fails=1 fail_timeout=10s;"},
	{"times", "server 10.0.0.1:80 fail_timeout=1h1m1s;", "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=3661s;"},
	{"time without a unit", "server 10.0.0.1:80 fail_timeout=1m5;", "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=65s;"},
	{"quotes", `'server' "10.0.0.1:80" 'weight=2';`, "server 10.0.0.1:80 weight=2 max_fails=1 fail_timeout=10s;"},
	{"escaped quote in quotes", `hash "a\"b'"; ` + one, "hash a_b_;server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"comments", "# x ; }\nserver # y\n 10.0.0.1:80 # z\n;#", "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"variable in braces", "hash ${request_uri}a;" + one, "hash __request_uri_a;server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{
		"server twice", one + one,
		"server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;",
	},
	{"method and keepalive", "least_conn;" + one + "keepalive 3;", "least_conn;keepalive 3;server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"random two", "random two least_conn;" + one, "random two least_conn;server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
	{"keepalive's settings", one + "keepalive_timeout 5s; keepalive_requests 7;", "server 10.0.0.1:80 weight=1 max_fails=1 fail_timeout=10s;"},
}

func TestParseBodyTakes(t *testing.T) {
	for _, tt := range taken {
		t.Run(tt.name, func(t *testing.T) {
			options, servers, err := nginxconf.ParseBody([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			u := web
			u.Options, u.Servers = options, servers
			got := strings.ReplaceAll(string(nginxconf.AppendBody(nil, u)), "\n", "")
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// accidents are bodies that nginx itself lets pass, though not as they were meant.
var accidents = []string{
	"method twice", "backup before its method", "backup twice before its method", "keepalive 0",
	"keepalive local", "drain",
}

var refused = []struct{ name, body, want string }{
	{"empty", "", "line 1: no servers are inside upstream"},
	{"blank", " \n\t\n", "line 3: no servers are inside upstream"},
	{"only a method", "ip_hash;", "no servers are inside upstream"},
	{"only backups", "server 10.0.0.1:80 backup;", "no servers in upstream"},
	{"no address", "server;", `invalid number of arguments in "server" directive`},
	{"weight 0", "server 10.0.0.1:80 weight=0;", `invalid parameter "weight=0"`},
	{"weight empty", "server 10.0.0.1:80 weight=;", `invalid parameter "weight="`},
	{"weight alone", "server 10.0.0.1:80 weight;", `invalid parameter "weight"`},
	{"weight negative", "server 10.0.0.1:80 weight=-1;", `invalid parameter "weight=-1"`},
	{"weight too big", "server 10.0.0.1:80 weight=9999999999999999999;", `invalid parameter "weight=`},
	{"max_fails no number", "server 10.0.0.1:80 max_fails=x;", `invalid parameter "max_fails=x"`},
	{"max_conns no number", "server 10.0.0.1:80 max_conns=1k;", `invalid parameter "max_conns=1k"`},
	{"milliseconds", "server 10.0.0.1:80 fail_timeout=5ms;", `invalid parameter "fail_timeout=5ms"`},
	{"unit twice", "server 10.0.0.1:80 fail_timeout=5s5s;", `invalid parameter`},
	{"smaller unit first", "server 10.0.0.1:80 fail_timeout=5m5h;", `invalid parameter`},
	{"minutes twice", "server 10.0.0.1:80 fail_timeout=5m5m;", `invalid parameter`},
	{"units in disorder", "server 10.0.0.1:80 fail_timeout=5s5m;", `invalid parameter`},
	{"unknown unit", "server 10.0.0.1:80 fail_timeout=5q;", `invalid parameter`},
	{"empty time", "server 10.0.0.1:80 fail_timeout=;", `invalid parameter`},
	{"unknown parameter", "server 10.0.0.1:80 slow=1;", `line 1: invalid parameter "slow=1"`},
	{"parameter in another case", "server 10.0.0.1:80 Backup;", `invalid parameter "Backup"`},
	{"backup with a value", "server 10.0.0.1:80 backup=1;", `invalid parameter "backup=1"`},
	{"drain", "server 10.0.0.1:80 drain;", `invalid parameter "drain"`},
	{"backup beside ip_hash", "ip_hash;" + one + "server 10.0.0.2:80 backup;", `does not support parameter "backup"`},
	{"backup beside hash", "hash $request_uri;" + one + "server 10.0.0.2:80 backup;", `does not support parameter "backup"`},
	{"backup beside random", "random;" + one + "server 10.0.0.2:80 backup;", `does not support parameter "backup"`},
	{"backup before its method", one + "server 10.0.0.2:80 backup;ip_hash;", `does not support parameter "backup"`},
	{"method twice", "ip_hash;least_conn;" + one, "load balancing method redefined"},
	{"IPv6 without brackets", "server 2001:db8::1;", `invalid port in upstream "2001:db8::1"`},
	{"IPv6 not closed", "server [::1:80;", "invalid host in upstream"},
	{"IPv6 with a zone", "server [fe80::1%lo]:80;", "invalid IPv6 address in upstream"},
	{"IPv4 in brackets", "server [10.0.0.1]:80;", "invalid IPv6 address in upstream"},
	{"empty brackets", "server []:80;", "no host in upstream"},
	{"junk behind brackets", "server [::1]80;", "invalid host in upstream"},
	{"port 0", "\nserver 10.0.0.1:0;", `line 2: invalid port in upstream "10.0.0.1:0"`},
	{"port too big", "server 10.0.0.1:65536;", "invalid port in upstream"},
	{"port empty", "server 10.0.0.1:;", "invalid port in upstream"},
	{"port alone", "server :80;", "no host in upstream"},
	{"path", "server 10.0.0.1:80/x;", "invalid host in upstream"},
	{"host name", "server no-such-host.invalid:80;", `host not found in upstream "no-such-host.invalid:80"`},
	{"unix without a path", "server unix:;", "no path in the unix domain socket"},
	{"unix with a long path", "server unix:/" + strings.Repeat("a", 107) + ";", "too long path in the unix domain socket"},
	{"keepalive 0", one + "keepalive 0;", `invalid value "0" in "keepalive" directive`},
	{"keepalive no number", one + "keepalive x;", `invalid value "x" in "keepalive" directive`},
	{"keepalive twice", one + "keepalive 1;keepalive 1;", `"keepalive" directive is duplicate`},
	{"keepalive local", one + "keepalive 1 local;", `invalid number of arguments`},
	{"least_conn with an argument", "least_conn x;" + one, `invalid number of arguments in "least_conn"`},
	{"hash without a key", "hash;" + one, `invalid number of arguments in "hash"`},
	{"hash with a wrong word", "hash $request_uri x;" + one, `invalid parameter "x"`},
	{"random with a wrong word", "random three;" + one, `invalid parameter "three"`},
	{"random by a wrong method", "random two ip_hash;" + one, `invalid parameter "ip_hash"`},
	{"unknown directive", one + "\nfoo 1;", `line 2: unknown directive "foo"`},
	{"directive of another context", "listen 80;" + one, `unknown directive "listen"`},
	{"no semicolon", "server 10.0.0.1:80", `unexpected end, expecting ";"`},
	{"no semicolon but a blank", "server 10.0.0.1:80 ", `unexpected end, expecting ";"`},
	{"semicolon alone", ";", `unexpected ";"`},
	{"block", "server 10.0.0.1:80 {", `unexpected "{"`},
	{"block at once", "server{", `unexpected "{"`},
	{"end of a block", one + "}", `unexpected "}"`},
	{"quote not closed", `server "10.0.0.1:80;`, `unexpected end, expecting "\""`},
	{"junk behind a quote", `server "10.0.0.1:80"x;`, `unexpected "x" behind a closing quote`},
	{"backslash at the end", `server \`, `unexpected end`},
}

func TestParseBodyRefuses(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := nginxconf.ParseBody([]byte(tt.body))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want %s", err, tt.want)
			}
			if bad := (*nginxconf.Error)(nil); !errors.As(err, &bad) {
				t.Errorf("%T is no *nginxconf.Error", err)
			}
			if errors.Is(err, nginxconf.ErrZone) {
				t.Error("the error is ErrZone")
			}
		})
	}
}

func TestParseBodyTellsZoneApart(t *testing.T) {
	_, _, err := nginxconf.ParseBody([]byte("zone z 64k;" + one))
	if !errors.Is(err, nginxconf.ErrZone) {
		t.Errorf("got %v, want ErrZone", err)
	}
}

func TestParseBodyIgnoresChecks(t *testing.T) {
	_, servers, err := nginxconf.ParseBody([]byte(one + `check interval=3000 type=http; check_http_send "GET / HTTP/1.0\r\n\r\n";`))
	if err != nil || len(servers) != 1 {
		t.Errorf("got %d servers, %v", len(servers), err)
	}
}

// A real nginx agrees with both tables, where one is named.
func TestAsTengine(t *testing.T) {
	bin := os.Getenv("TENGINE_BIN")
	if bin == "" {
		t.Skip("TENGINE_BIN names no nginx to compare with")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	accepts := func(t *testing.T, body string) (bool, string) {
		text := "pid " + dir + "/pid;\nerror_log " + dir + "/log;\nevents {}\nhttp {\n" +
			"client_body_temp_path " + dir + "/a; proxy_temp_path " + dir + "/b; fastcgi_temp_path " + dir + "/c;\n" +
			"uwsgi_temp_path " + dir + "/d; scgi_temp_path " + dir + "/e;\n" +
			"upstream u {\n" + body + "\n}\n}\n"
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), bin, "-t", "-p", dir, "-c", conf, "-e", dir+"/log").CombinedOutput()
		return err == nil, string(out)
	}
	for _, tt := range taken {
		if ok, out := accepts(t, tt.body); !ok {
			t.Errorf("%s: nginx refuses what ParseBody takes: %s", tt.name, out)
		}
	}
	for _, tt := range refused {
		if slices.Contains(accidents, tt.name) || strings.ContainsAny(tt.body, "{}") {
			continue
		}
		if ok, out := accepts(t, tt.body); ok {
			t.Errorf("%s: nginx takes what ParseBody refuses: %s", tt.name, out)
		}
	}
}

func FuzzParseBody(f *testing.F) {
	f.Add([]byte(webBody))
	for _, tt := range taken {
		f.Add([]byte(tt.body))
	}
	for _, tt := range refused {
		f.Add([]byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		options, servers, err := nginxconf.ParseBody(text)
		if err != nil {
			return
		}
		u := web
		u.Options, u.Servers = options, servers
		if nginxconf.Valid(u) != nil {
			return // more than we write ourselves: sockets, other methods
		}
		again, same, err := nginxconf.ParseBody(nginxconf.AppendBody(nil, u))
		if err != nil || again != options || !slices.Equal(same, servers) {
			t.Fatalf("got %+v %+v, %v, want %+v %+v", again, same, err, options, servers)
		}
	})
}
