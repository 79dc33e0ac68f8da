package conformance

import (
	"slices"
	"strings"
	"testing"
)

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
