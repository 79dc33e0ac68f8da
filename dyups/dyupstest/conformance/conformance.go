// Package conformance is what every dyups interface must do, as far as it shows from
// outside: one suite for the in-process server, for a real Tengine, and for whatever
// else claims the same API. Only tests import it.
package conformance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// proxyHeader is set by the traffic's location to the pid that serves.
const proxyHeader = "X-Proxy-Worker"

// Config is what an interface is started with.
type Config struct {
	// Conf is upstream blocks, included at the start and at each reload.
	Conf string
	// ReadMsgTimeout is dyups_read_msg_timeout.
	ReadMsgTimeout time.Duration
	// QueueBytes is dyups_shm_zone_size.
	QueueBytes int
}

// Target is a running interface with the traffic that it steers. Its location sets
// the worker header.
type Target struct {
	// API is the address of the interface: http://host:port or unix:/path.
	API string
	// Proxy is the address of the traffic, http://host:port; the Host header names the
	// upstream, and the answer says in X-Proxy-Worker who served it.
	Proxy string
	// Workers is how many there are.
	Workers int
	// Kill ends a worker as signal 9 does.
	Kill func(t *testing.T, pid string)
	// Reload reads a new configuration and returns when the new workers serve.
	Reload func(t *testing.T, conf string)
	// Fragile says that a zone in a body kills the worker, that an unknown variable spoils
	// it, and that a body in more than two pieces is cut, as in the module written in C.
	Fragile bool
	// Shared says that all workers use one memory, of QueueBytes, which a crash and a reload
	// leave as it is: a change reaches every worker at once, and one that finds no room
	// changes nothing. In the module written in C each worker has a copy of its own.
	Shared bool
}

// Starter starts an interface of its own for each test and ends it with the test.
type Starter func(t *testing.T, c Config) Target

const (
	s1 = "server 127.0.0.1:1001;"
	s2 = "server 127.0.0.1:1002;"

	refused    = "add server failed"
	notSynced  = "alert: update success but not sync to other process"
	notFound   = "not found uptream"
	noSuchPath = "not support this interface"
	noSuchAPI  = "not support this api"
)

// never is a read timeout that no test lives to see.
const never = 10 * time.Minute

// Run holds the suite against what start starts.
func Run(t *testing.T, start Starter) {
	t.Run("answers", func(t *testing.T) { answers(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("bodies", func(t *testing.T) { bodies(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("replacement is no merge", func(t *testing.T) {
		replacement(t, start(t, Config{ReadMsgTimeout: never}))
	})
	t.Run("names", func(t *testing.T) { names(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("shown options", func(t *testing.T) { shown(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("each worker has its copy", func(t *testing.T) {
		copies(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: never}))
	})
	t.Run("workers read by themselves", func(t *testing.T) {
		byTimer(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 300 * time.Millisecond}))
	})
	t.Run("down", func(t *testing.T) { down(t, start(t, Config{ReadMsgTimeout: never})) })
	t.Run("queue full", func(t *testing.T) {
		full(t, start(t, Config{ReadMsgTimeout: never, QueueBytes: 256 << 10}))
	})
	t.Run("crash", func(t *testing.T) {
		crash(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("reload", func(t *testing.T) {
		reload(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: never}))
	})
	t.Run("cold start", func(t *testing.T) {
		c := Config{Conf: blocks("app", s1, "Web", s1+s2+"keepalive 2;"), ReadMsgTimeout: never}
		coldStart(t, start(t, c))
	})
	t.Run("zone", func(t *testing.T) {
		zone(t, start(t, Config{Conf: blocks("app", s1), ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("variable", func(t *testing.T) {
		variable(t, start(t, Config{ReadMsgTimeout: 200 * time.Millisecond}))
	})
	t.Run("pieces", func(t *testing.T) { pieces(t, start(t, Config{ReadMsgTimeout: never})) })
}

func blocks(namesAndBodies ...string) string {
	var b strings.Builder
	for i := 0; i < len(namesAndBodies); i += 2 {
		fmt.Fprintf(&b, "upstream %s { %s }\n", namesAndBodies[i], namesAndBodies[i+1])
	}
	return b.String()
}

// page stands for any body: an error page of nginx itself.
const page = "*"

func answers(t *testing.T, g Target) {
	dial(t, g.API).get(t, "/list").want(t, 204, "")
	dial(t, g.API).get(t, "/detail").want(t, 204, "")
	if r := dial(t, g.API).get(t, "/list"); r.pid() == "" {
		t.Errorf("no %s in %v", workerHeader, r.header)
	}
	table := []struct {
		name, method, path string
		body               string // "-" says nothing of a body
		status             int
		answer             string
	}{
		{"post", "POST", "/upstream/app", s1, 200, "success"},
		{"list", "GET", "/list", "-", 200, "app\n"},
		{"list with slash", "GET", "/list/", "-", 200, "app\n"},
		{"list with more", "GET", "/list/foo", "-", 200, "app\n"},
		{"list in capitals", "GET", "/LIST", "-", 200, "app\n"},
		{"list with query", "GET", "/list?x=/y", "-", 200, "app\n"},
		{"list with a body", "GET", "/list", "xyz", 200, "app\n"},
		{"detail with more", "GET", "/detail/app", "-", 200, "*"},
		{"upstream", "GET", "/upstream/app", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream with slash", "GET", "/upstream/app/", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream with slashes", "GET", "//upstream//app", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream behind dots", "GET", "/x/../upstream/./app", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream escaped", "GET", "/upstream/%61pp", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream with query", "GET", "/upstream/app?x", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream in capitals", "GET", "/UpStream/APP", "-", 200, "server 127.0.0.1:1001\n"},
		{"upstream unknown", "GET", "/upstream/nope", "-", 404, ""},
		{"upstream without name", "GET", "/upstream", "-", 404, ""},
		{"upstream and more", "GET", "/upstream/app/x", "-", 404, ""},
		{"upstream and escaped more", "GET", "/upstream/app%2fx", "-", 404, ""},
		{"unknown path", "GET", "/foo", "-", 404, ""},
		{"root", "GET", "/", "-", 404, page},
		{"above the root", "GET", "/../list", "-", 400, page},
		{"zero byte", "GET", "/upstream/a%00", "-", 400, page},
		{"bad escape", "GET", "/upstream/%zz", "-", 400, page},
		{"put", "PUT", "/upstream/app", s2, 405, ""},
		{"put without body", "PUT", "/upstream/app", "-", 405, ""},
		{"patch", "PATCH", "/upstream/app", s2, 405, ""},
		{"options", "OPTIONS", "/list", "-", 405, ""},
		{"head", "HEAD", "/list", "-", 405, ""},
		{"unknown method", "FOO", "/list", "-", 405, ""},
		{"trace", "TRACE", "/list", "-", 405, page},
		{"post to root", "POST", "/", s1, 404, noSuchPath},
		{"post to a path", "POST", "/foo", s1, 404, noSuchPath},
		{"post to list", "POST", "/list", s1, 404, noSuchPath},
		{"post without name", "POST", "/upstream/", s1, 404, noSuchPath},
		{"post to name with slash", "POST", "/upstream/a/b", s1, 404, noSuchPath},
		{"post to name with escaped slash", "POST", "/upstream/a%2fb", s1, 404, noSuchPath},
		{"post to another api", "POST", "/foo/bar", s1, 404, noSuchAPI},
		{"post nothing", "POST", "/upstream/app", "-", 204, ""},
		{"post nothing to nowhere", "POST", "/foo", "-", 204, ""},
		{"post no bytes", "POST", "/upstream/app", "", 500, refused},
		{"delete root", "DELETE", "/", "-", 405, noSuchPath},
		{"delete list", "DELETE", "/list", "-", 405, noSuchPath},
		{"delete without name", "DELETE", "/upstream/", "-", 405, noSuchPath},
		{"delete name with slash", "DELETE", "/upstream/a/b", "-", 405, noSuchPath},
		{"delete name with escaped slash", "DELETE", "/upstream/a%2fb", "-", 405, noSuchPath},
		{"delete of another api", "DELETE", "/foo/bar", "-", 405, noSuchAPI},
		{"delete unknown", "DELETE", "/upstream/nope", "-", 404, notFound},
		{"unchanged", "GET", "/detail", "-", 200, "app\n" +
			"server 127.0.0.1:1001 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n"},
		{"too big", "POST", "/upstream/app", strings.Repeat(" ", 1<<20+1), 413, page},
		{"delete with a body", "DELETE", "/upstream/app", "xyz", 200, "success"},
		{"delete again", "DELETE", "/upstream/app", "-", 404, notFound},
		{"list after all", "GET", "/list", "-", 204, ""},
		{"detail after all", "GET", "/detail", "-", 204, ""},
	}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			text := request(row.method, row.path, row.body)
			if row.body == "-" {
				text = bare(row.method, row.path, "x")
			}
			r := dial(t, g.API).must(t, row.method, text)
			if row.answer == page {
				row.answer = r.body
			}
			r.want(t, row.status, row.answer)
		})
	}
	t.Run("no host", func(t *testing.T) {
		if r := dial(t, g.API).must(t, "GET", "GET /list HTTP/1.1\r\n\r\n"); r.status != 400 {
			t.Errorf("answer %v", r)
		}
	})
	t.Run("http 1.0", func(t *testing.T) {
		dial(t, g.API).must(t, "GET", "GET /list HTTP/1.0\r\n\r\n").want(t, 204, "")
	})
	t.Run("100-continue", func(t *testing.T) {
		head := "POST /upstream/c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 22\r\n\r\n"
		c := dial(t, g.API)
		if r := c.must(t, "POST", head); r.status != 100 {
			t.Fatalf("answer %v, want 100 first", r)
		}
		c.must(t, "POST", s1).want(t, 200, "success")
	})
	t.Run("chunked", func(t *testing.T) {
		head := "POST /upstream/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		dial(t, g.API).must(t, "POST", head+"16\r\n"+s2+"\r\n0\r\n\r\n").want(t, 200, "success")
		dial(t, g.API).get(t, "/upstream/c").want(t, 200, "server 127.0.0.1:1002\n")
		dial(t, g.API).must(t, "POST", head+"0\r\n\r\n").want(t, 500, refused)
	})
	t.Run("one connection", func(t *testing.T) {
		c := dial(t, g.API)
		c.post(t, "k", s1).want(t, 200, "success")
		c.get(t, "/upstream/k").want(t, 200, "server 127.0.0.1:1001\n")
		c.del(t, "k").want(t, 200, "success")
		c.get(t, "/upstream/k").want(t, 404, "")
		// What follows a 204 puts the connection out of sync.
		c.must(t, "POST", bare("POST", "/upstream/k", "x")).want(t, 204, "")
		if rest := c.in.Buffered(); rest > 0 {
			text, _ := c.in.Peek(rest)
			if string(text) != "no content\n" {
				t.Errorf("%q follows the 204", text)
			}
		}
	})
}

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

func names(t *testing.T, g Target) {
	c := dial(t, g.API)
	c.post(t, "Web", s1).want(t, 200, "success")
	c.get(t, "/upstream/web").want(t, 200, "server 127.0.0.1:1001\n")
	c.post(t, "web", s2).want(t, 200, "success")
	c.get(t, "/upstream/WEB").want(t, 200, "server 127.0.0.1:1002\n")
	c.get(t, "/list").want(t, 200, "web\n")
	c.del(t, "wEB").want(t, 200, "success")
	c.get(t, "/list").want(t, 204, "")
	for _, name := range []string{
		"a.b", "a_b", "a-b", "a:80", "127.0.0.1", "%3b", "%7b", "x%20y", "a%3fb", "a+b", "x%0ay",
		strings.Repeat("n", 255),
	} {
		c.post(t, name, s1).want(t, 200, "success")
		c.get(t, "/upstream/"+name).want(t, 200, "server 127.0.0.1:1001\n")
		c.del(t, name).want(t, 200, "success")
		c.get(t, "/upstream/"+name).want(t, 404, "")
	}
	// Order means nothing; all names are there, each once.
	want := []string{"n0", "n1", "n2", "n3", "n4"}
	for _, n := range want {
		c.post(t, n, s1).want(t, 200, "success")
	}
	c.del(t, "n2").want(t, 200, "success")
	c.post(t, "n4", s2).want(t, 200, "success")
	c.post(t, "n2", s2).want(t, 200, "success")
	for pid, w := range g.workers(t) {
		got := strings.Fields(w.get(t, "/list").body)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("worker %s lists %v", pid, got)
		}
	}
}

func shown(t *testing.T, g Target) {
	c := dial(t, g.API)
	c.post(t, "app", "least_conn;server 127.0.0.1:1001 weight=3 max_conns=4 max_fails=0 fail_timeout=1m30s;"+
		"server 127.0.0.1:1002 backup down max_fails=5;server [2001:db8::1]:80 fail_timeout=0;keepalive 20;").
		want(t, 200, "success")
	const want = "app\n" +
		"server 127.0.0.1:1001 weight=3 max_conns=4 max_fails=0 fail_timeout=90 backup=0 down=0\n" +
		"server 127.0.0.1:1002 weight=1 max_conns=0 max_fails=5 fail_timeout=10 backup=1 down=1\n" +
		"server [2001:db8::1]:80 weight=1 max_conns=0 max_fails=1 fail_timeout=0 backup=0 down=0\n\n"
	c.get(t, "/detail").want(t, 200, want)
	c.post(t, "b", s1).want(t, 200, "success")
	c.get(t, "/detail").want(t, 200, want+
		"b\nserver 127.0.0.1:1001 weight=1 max_conns=0 max_fails=1 fail_timeout=10 backup=0 down=0\n\n")
}

// backend starts a server that answers its name, and gives its server directive.
func backend(t *testing.T, name string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(name))
	}))
	t.Cleanup(s.Close)
	return "server " + strings.TrimPrefix(s.URL, "http://") + ";"
}

// served asks the traffic of one worker.
func served(t *testing.T, c *conn, upstream string) string {
	t.Helper()
	r := c.must(t, "GET", bare("GET", "/", upstream))
	if r.status != 200 {
		return fmt.Sprint(r.status)
	}
	return r.body
}

func copies(t *testing.T, g Target) {
	oldSrv, newSrv := backend(t, "old"), backend(t, "new")
	api := g.workers(t)
	var first *conn
	var firstPID string
	for firstPID, first = range api {
		break
	}
	first.post(t, "app", oldSrv).want(t, 200, "success")
	for _, w := range api {
		w.get(t, "/list").want(t, 200, "app\n")
	}
	traffic := g.proxies(t, "app")
	for pid, c := range traffic {
		if api[pid] == nil {
			t.Fatalf("worker %s serves traffic and has no interface", pid)
		}
		if got := served(t, c, "app"); got != "old" {
			t.Fatalf("worker %s serves %s", pid, got)
		}
	}
	first.post(t, "app", newSrv).want(t, 200, "success")
	first.post(t, "fresh", newSrv).want(t, 200, "success")
	for pid, c := range traffic {
		want := "old"
		if pid == firstPID || g.Shared {
			want = "new"
		}
		if got := served(t, c, "app"); got != want {
			t.Errorf("before reading, worker %s serves %s, want %s", pid, got, want)
		}
	}
	// Whatever a worker is asked for, it reads the queue first: a GET of any kind, and
	// a change, even one that fails.
	ask := []func(c *conn){
		func(c *conn) { c.get(t, "/upstream/fresh").want(t, 200, strings.ReplaceAll(newSrv, ";", "\n")) },
		func(c *conn) { c.get(t, "/foo").want(t, 404, "") },
		func(c *conn) { c.del(t, "nope").want(t, 404, notFound) },
	}
	read := map[string]bool{firstPID: true}
	i := 0
	for pid, c := range api {
		if pid == firstPID {
			continue
		}
		ask[i%len(ask)](c)
		i++
		read[pid] = true
		for pid, c := range traffic {
			want := "old"
			if read[pid] || g.Shared {
				want = "new"
			}
			if got := served(t, c, "app"); got != want {
				t.Errorf("after %d read, worker %s serves %s, want %s", len(read), pid, got, want)
			}
		}
	}
	// A worker can delete what it only heard of.
	for pid, c := range api {
		if pid != firstPID {
			c.del(t, "fresh").want(t, 200, "success")
			break
		}
	}
	first.get(t, "/upstream/fresh").want(t, 404, "")
	// What is under way on other connections of the same worker sees the change at once.
	first.post(t, "app", oldSrv).want(t, 200, "success")
	if got := served(t, traffic[firstPID], "app"); got != "old" {
		t.Errorf("the answering worker serves %s", got)
	}
}

func byTimer(t *testing.T, g Target) {
	dial(t, g.API).post(t, "app", backend(t, "old")).want(t, 200, "success")
	traffic := g.proxiesOf(t, "app", "old")
	dial(t, g.API).post(t, "app", backend(t, "new")).want(t, 200, "success")
	for pid, c := range traffic {
		eventually(t, "worker "+pid+" serves the new server", func() bool { return served(t, c, "app") == "new" })
	}
}

// proxiesOf is proxies once all serve the named server.
func (g Target) proxiesOf(t *testing.T, upstream, want string) map[string]*conn {
	t.Helper()
	traffic := g.proxies(t, upstream)
	for pid, c := range traffic {
		eventually(t, "worker "+pid+" serves "+want, func() bool { return served(t, c, upstream) == want })
	}
	return traffic
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func down(t *testing.T, g Target) {
	c := dial(t, g.API)
	c.post(t, "app", strings.Replace(backend(t, "down"), ";", " down;", 1)).want(t, 200, "success")
	for _, w := range g.workers(t) {
		w.get(t, "/list").want(t, 200, "app\n")
	}
	began := time.Now()
	for pid, p := range g.proxies(t, "app") {
		if r := p.must(t, "GET", bare("GET", "/", "app")); r.status != 502 {
			t.Errorf("worker %s answers %d, want 502", pid, r.status)
		}
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %s", d)
	}
}

func full(t *testing.T, g Target) {
	if g.Shared {
		fullForAll(t, g)
		return
	}
	api := g.workers(t)
	var pids []string
	for pid := range api {
		pids = append(pids, pid)
	}
	w := api[pids[0]]
	body := s1 + strings.Repeat(" ", 30_000)
	taken := 0
	var failed reply
	for i := range 100 {
		if failed = w.post(t, fmt.Sprintf("n%02d", i), body); failed.status != 200 {
			break
		}
		taken++
	}
	failed.want(t, 500, notSynced)
	// 30,022 bytes are 8 pages; the smaller parts of all messages share a few more.
	if taken < 6 || taken > 8 {
		t.Errorf("%d messages of 8 pages fit into a queue of 64 pages, less its head", taken)
	}
	last := fmt.Sprintf("/upstream/n%02d", taken)
	w.get(t, last).want(t, 200, "server 127.0.0.1:1001\n")
	// Others took what fitted, and will never hear of the last.
	for _, pid := range pids[1:] {
		api[pid].get(t, "/upstream/n00").want(t, 200, "server 127.0.0.1:1001\n")
		api[pid].get(t, last).want(t, 404, "")
	}
	// All have read by now; it is empty when one has looked again.
	w.get(t, "/list")
	w.post(t, "n99", body).want(t, 200, "success")
	for _, pid := range pids[1:] {
		api[pid].get(t, "/upstream/n99").want(t, 200, "server 127.0.0.1:1001\n")
		api[pid].get(t, last).want(t, 404, "")
	}
	w.post(t, fmt.Sprintf("n%02d", taken), s2).want(t, 200, "success")
	for _, pid := range pids[1:] {
		api[pid].get(t, last).want(t, 200, "server 127.0.0.1:1002\n")
	}
}

// fullForAll wants a change that finds no room to change nothing, anywhere.
func fullForAll(t *testing.T, g Target) {
	api := g.workers(t)
	var w *conn
	for _, w = range api {
		break
	}
	many := func(n int) (body, shown string) {
		for i := range n {
			body += fmt.Sprintf("server 127.0.0.1:%d;", 1000+i)
			shown += fmt.Sprintf("server 127.0.0.1:%d\n", 1000+i)
		}
		return body, shown
	}
	body, shown := many(300)
	taken := 0
	var failed reply
	for i := range 100 {
		if failed = w.post(t, fmt.Sprintf("n%02d", i), body); failed.status != 200 {
			break
		}
		taken++
	}
	if failed.status != 500 || strings.Contains(failed.body, "not sync") || failed.body == refused {
		t.Errorf("answer %v, want 500 and a text that says that nothing was changed", failed)
	}
	if taken < 3 {
		t.Errorf("only %d upstreams of 300 servers fitted in", taken)
	}
	longer, _ := many(600)
	if r := w.post(t, "n00", longer); r.status != 500 || r.body != failed.body {
		t.Errorf("a longer body in the place of one that fitted: %v", r)
	}
	last := fmt.Sprintf("/upstream/n%02d", taken)
	for _, c := range api {
		c.get(t, "/upstream/n00").want(t, 200, shown)
		c.get(t, last).want(t, 404, "")
		if r := c.get(t, "/list"); strings.Count(r.body, "\n") != taken {
			t.Errorf("of %d names these are listed: %v", taken, r)
		}
	}
	w.del(t, "n00").want(t, 200, "success")
	w.post(t, fmt.Sprintf("n%02d", taken), body).want(t, 200, "success")
	for _, c := range api {
		c.get(t, last).want(t, 200, shown)
		c.get(t, "/upstream/n00").want(t, 404, "")
	}
}
