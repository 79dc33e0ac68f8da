package conformance

import (
	"fmt"
	"strings"
	"testing"
)

func bodies(t *testing.T, g Target) {
	const b1, b2 = "server 127.0.0.1:1001\n", "server 127.0.0.1:1001\nserver 127.0.0.1:1002\n"
	table := []struct {
		name, body string
		servers    string // "" is refused
	}{
		{"one server", s1, b1},
		{"two servers", s1 + s2, b2},
		{"two lines", s1 + "\r\n" + s2 + "\n", b2},
		{"one server twice", s1 + s1, b1 + b1},
		{"comment", "# x\n" + s1 + " # y", b1},
		{"quotes", `server "127.0.0.1:1001";`, b1},
		{"no port", "server 127.0.0.1;", "server 127.0.0.1:80\n"},
		{"IPv6", "server [::1]:80;", "server [::1]:80\n"},
		{"all parameters", "server 127.0.0.1:1001 weight=3 max_conns=4 max_fails=0 fail_timeout=90m;", b1},
		{"backup", s1 + "server 127.0.0.1:1002 backup;", b2},
		{"down", "server 127.0.0.1:1001 down;", b1},
		{"keepalive", "keepalive 20;" + s1, b1},
		{"keepalive behind", s1 + "keepalive 20;", b1},
		{"least_conn", "least_conn;" + s1, b1},
		{"least_conn and keepalive", "least_conn;" + s1 + "keepalive 20;", b1},
		{"ip_hash", "ip_hash;" + s1, b1},
		{"random", "random;" + s1, b1},
		{"hash of a variable in use", "hash $host;" + s1, b1},
		{"keepalive settings", "keepalive 2;keepalive_timeout 5s;keepalive_requests 10;" + s1, b1},
		{"check", s1 + "check interval=1000 rise=1 fall=2 timeout=500 type=tcp;", b1},

		{"blank", " ", ""},
		{"newline", "\n", ""},
		{"only a comment", "# x\n", ""},
		{"only options", "keepalive 20;", ""},
		{"semicolon", ";", ""},
		{"no semicolon", "server 127.0.0.1:1001", ""},
		{"no semicolon between", "server 127.0.0.1:1001 server 127.0.0.1:1002;", ""},
		{"no address", "server;", ""},
		{"unknown directive", s1 + "foo bar;", ""},
		{"brace", s1 + "}", ""},
		{"break out", s1 + "} upstream evil {" + s2, ""},
		{"block", "upstream x {" + s1 + "}", ""},
		{"server block", "server {" + s1 + "}", ""},
		{"port 0", "server 127.0.0.1:0;", ""},
		{"port too high", "server 127.0.0.1:65536;", ""},
		{"port no number", "server 127.0.0.1:http;", ""},
		{"IPv6 without brackets", "server ::1:80;", ""},
		{"host that does not resolve", "server no.such.host.invalid:80;", ""},
		{"one bad among good", s1 + "server 127.0.0.1:0;" + s2, ""},
		{"weight 0", "server 127.0.0.1:1001 weight=0;", ""},
		{"negative weight", "server 127.0.0.1:1001 weight=-1;", ""},
		{"max_fails no number", "server 127.0.0.1:1001 max_fails=x;", ""},
		{"fail_timeout in milliseconds", "server 127.0.0.1:1001 fail_timeout=500ms;", ""},
		{"unknown parameter", "server 127.0.0.1:1001 foo=1;", ""},
		{"parameter with blanks", "server 127.0.0.1:1001 weight = 1;", ""},
		{"only backups", "server 127.0.0.1:1001 backup;", ""},
		{"backup beside ip_hash", "ip_hash;" + s1 + "server 127.0.0.1:1002 backup;", ""},
		{"keepalive twice", "keepalive 2;keepalive 3;" + s1, ""},
		{"keepalive no number", "keepalive x;" + s1, ""},
		{"html", "<html><body>hello</body></html>", ""},
		{"byte order mark", "\xef\xbb\xbf" + s1, ""},
		{"include", "include /etc/hosts;" + s1, ""},
	}
	for i, row := range table {
		t.Run(row.name, func(t *testing.T) {
			c, name := dial(t, g.API), fmt.Sprintf("b%d", i)
			const before = "server 127.0.0.1:999\n"
			c.post(t, name, "server 127.0.0.1:999;").want(t, 200, "success")
			r := c.post(t, name, row.body)
			if row.servers == "" {
				r.want(t, 500, refused)
				row.servers = before
			} else {
				r.want(t, 200, "success")
			}
			c.get(t, "/upstream/"+name).want(t, 200, row.servers)
			dial(t, g.API).get(t, "/upstream/"+name).want(t, 200, row.servers)
		})
	}
}

func replacement(t *testing.T, g Target) {
	c := dial(t, g.API)
	c.post(t, "app", "server 127.0.0.1:1001 weight=7; server 127.0.0.1:1002;").want(t, 200, "success")
	c.post(t, "app", "server 127.0.0.1:1002;").want(t, 200, "success")
	const line = "server 127.0.0.1:1002 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n"
	for pid, w := range g.workers(t) {
		if r := w.get(t, "/detail"); r.body != "app\n"+line+"\n" {
			t.Errorf("worker %s shows %q", pid, r.body)
		}
	}
}

// largeBodies sends bodies of one upstream in one write each: within the buffer, beyond it, as large as is taken, and
// larger.
func largeBodies(t *testing.T, g Target) {
	before := ""
	for _, servers := range []int{300, 800, 1500, 9000, 36_000, 60_000} {
		var body, want strings.Builder
		for i := range servers {
			addr := fmt.Sprintf("127.1.%d.%d:%d", i/250%250, i%250+1, 1000+i/10)
			fmt.Fprintf(&body, "server %s;", addr)
			fmt.Fprintf(&want, "server %s\n", addr)
		}
		r := dial(t, g.API).post(t, "app", body.String())
		if body.Len() > 1<<20 {
			if r.status != 413 {
				t.Errorf("%d bytes: %.100v", body.Len(), r)
			}
		} else {
			r.want(t, 200, "success")
			before = want.String()
		}
		for pid, c := range g.workers(t) {
			if r := c.get(t, "/upstream/app"); r.status != 200 || r.body != before {
				t.Errorf("%d bytes: worker %s shows %d bytes, want %d: %.100v", body.Len(), pid, len(r.body), len(before), r)
			}
		}
	}
}

func pieces(t *testing.T, g Target) {
	line := func(n int) string { return fmt.Sprintf("server 127.0.0.1:%d;", 1000+n) }
	headOf := func(bytes int) string {
		return fmt.Sprintf("POST /upstream/app HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", bytes)
	}
	head := func(n int) string { return headOf(n * 22) }
	const b0, b1, b2 = "server 127.0.0.1:1000\n", "server 127.0.0.1:1001\n", "server 127.0.0.1:1002\n"
	var big strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&big, "server 127.0.1.%d:%d;\n", i%250+1, 1000+i)
	}
	long := big.String()
	chunk := func(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }
	padded := func(n int) string { return chunk(line(n) + strings.Repeat(" ", 200)) }
	long0, long1, long2 := padded(0), padded(1), padded(2)
	end := chunk("")
	chunks := "POST /upstream/app HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	table := []struct {
		name  string
		parts []string
		want  string
	}{
		{"all in one", []string{head(3) + line(0) + line(1) + line(2)}, b0 + b1 + b2},
		{"two behind the head", []string{head(2), line(0), line(1)}, b0 + b1},
		{"three behind the head", []string{head(3), line(0), line(1), line(2)}, b0 + b1},
		{"one with the head and two", []string{head(3) + line(0), line(1), line(2)}, b0 + b1},
		{"two with the head and one", []string{head(3) + line(0) + line(1), line(2)}, b0 + b1 + b2},
		{"nearly through a file", []string{
			headOf(10_239), line(0) + strings.Repeat(" ", 5000), line(1) + strings.Repeat(" ", 4000),
			line(2) + strings.Repeat(" ", 1239-3*22),
		}, b0 + b1},
		{"just through a file", []string{
			headOf(10_240), line(0) + strings.Repeat(" ", 5000), line(1) + strings.Repeat(" ", 4000),
			line(2) + strings.Repeat(" ", 1240-3*22),
		}, b0 + b1 + b2},
		{"through a file", []string{
			headOf(len(long)), long[:len(long)/4], long[len(long)/4 : len(long)/2], long[len(long)/2:],
		}, page},
		{"three small chunks", []string{
			chunks + chunk(line(0)) + chunk(line(1)) + chunk(line(2)) + end,
		}, b0 + b1 + b2},
		{"three chunks", []string{chunks + long0 + long1 + long2 + end}, b0 + b1},
		{"three small chunks in as many writes", []string{
			chunks, chunk(line(0)), chunk(line(1)), chunk(line(2)) + end,
		}, b0 + b1},
		{"two chunks", []string{chunks + long0 + long1 + end}, b0 + b1},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			dial(t, g.API).must(t, "POST", row.parts...).want(t, 200, "success")
			r := dial(t, g.API).get(t, "/upstream/app")
			if !g.Fragile && strings.Contains(strings.Join(row.parts, ""), line(2)) {
				row.want = b0 + b1 + b2 // nothing is cut
			}
			if row.want == page {
				if n := strings.Count(r.body, "\n"); n != 4000 {
					t.Errorf("%d servers of 4000", n)
				}
				return
			}
			r.want(t, 200, row.want)
		})
	}
}
