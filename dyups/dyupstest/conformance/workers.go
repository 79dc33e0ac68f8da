package conformance

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// successor finds the worker that is in the place of one that died.
func (g Target) successor(t *testing.T, before map[string]*conn, dead string) *conn {
	t.Helper()
	var pid string
	var c *conn
	eventually(t, "a new worker serves", func() bool {
		for p, k := range g.workers(t) {
			if before[p] == nil {
				pid, c = p, k
			}
		}
		return c != nil
	})
	if pid == dead {
		t.Fatalf("the new worker has the pid of the old one")
	}
	return c
}

func crash(t *testing.T, g Target) {
	api := g.workers(t)
	for _, c := range api {
		c.post(t, "app", s2).want(t, 200, "success")
		break
	}
	for _, c := range api { // all read it
		c.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1002\n")
	}
	var dead string
	for dead = range api {
		break
	}
	g.Kill(t, dead)
	api[dead].wantClosed(t)
	began := time.Now()
	c := g.successor(t, api, dead)
	if g.Shared {
		for pid, o := range g.workers(t) {
			if r := o.get(t, "/upstream/app"); r.body != "server 127.0.0.1:1002\n" {
				t.Errorf("after the crash, worker %s has %v", pid, r)
			}
		}
		return
	}
	if d := time.Since(began); d < 250*time.Millisecond {
		t.Errorf("the new worker serves after %s: it should sleep for twice the timeout first", d)
	}
	c.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1001\n") // of the last load
	for pid, o := range api {
		if pid != dead {
			o.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1002\n")
		}
	}
	c.post(t, "app", s2).want(t, 200, "success")
	for pid, o := range g.workers(t) {
		if r := o.get(t, "/upstream/app"); r.body != "server 127.0.0.1:1002\n" {
			t.Errorf("after repair, worker %s has %v", pid, r)
		}
	}
}

func reload(t *testing.T, g Target) {
	api := g.workers(t)
	for _, c := range api {
		c.post(t, "app", s2).want(t, 200, "success")
		c.post(t, "extra", s2).want(t, 200, "success")
		break
	}
	g.Reload(t, blocks("app", s1+s2, "more", s1))
	for _, c := range api {
		c.wantClosed(t)
	}
	for pid, c := range g.workers(t) {
		if api[pid] != nil {
			t.Errorf("worker %s lives on", pid)
		}
		if g.Shared { // what was posted stays
			c.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1002\n")
			c.get(t, "/list").want(t, 200, "app\nextra\n")
			continue
		}
		c.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1001\nserver 127.0.0.1:1002\n")
		c.get(t, "/list").want(t, 200, "app\nmore\n")
	}
}

// coldStart wants what the conf file has, before anybody posts.
func coldStart(t *testing.T, g Target) {
	for _, c := range g.workers(t) {
		c.get(t, "/list").want(t, 200, "app\nWeb\n")
		c.get(t, "/upstream/web").want(t, 200, "server 127.0.0.1:1001\nserver 127.0.0.1:1002\n")
	}
}

func zone(t *testing.T, g Target) {
	api := g.workers(t)
	if !g.Fragile {
		for _, c := range api {
			c.post(t, "z", "zone z 64k;"+s1).want(t, 500, refused)
			c.get(t, "/upstream/z").want(t, 404, "")
		}
		return
	}
	var pid string
	var c *conn
	for pid, c = range api {
		break
	}
	c.post(t, "app", s2).want(t, 200, "success")
	for _, o := range api {
		o.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1002\n")
	}
	if r, err := c.try("POST", request("POST", "/upstream/z", "zone z 64k;"+s1)); err == nil {
		t.Fatalf("answer %v, want none", r)
	}
	fresh := g.successor(t, api, pid)
	fresh.get(t, "/upstream/app").want(t, 200, "server 127.0.0.1:1001\n")
	fresh.get(t, "/upstream/z").want(t, 404, "")
	for p, o := range api {
		if p != pid {
			o.get(t, "/upstream/z").want(t, 404, "")
			o.post(t, "after", s1).want(t, 200, "success") // the queue is not locked for good
		}
	}
}

func variable(t *testing.T, g Target) {
	api := g.workers(t)
	if !g.Fragile {
		srv := backend(t, "b")
		for _, c := range api { // whether it is taken or not, nothing is spoilt
			if r := c.post(t, "app", "hash $uri;"+srv); r.status != 200 && r.body != refused {
				t.Errorf("answer %v", r)
			}
			c.post(t, "app", srv).want(t, 200, "success")
		}
		for pid, c := range g.proxies(t, "app") {
			if got := served(t, c, "app"); got != "b" {
				t.Errorf("worker %s serves %s", pid, got)
			}
		}
		return
	}
	var pids []string
	for pid := range api {
		pids = append(pids, pid)
	}
	bad, good := api[pids[0]], api[pids[1]]
	bad.post(t, "app", "hash $uri;"+s1).want(t, 500, refused)
	bad.get(t, "/list").want(t, 204, "")
	bad.post(t, "app", s1).want(t, 500, refused) // for good
	srv := backend(t, "b")
	good.post(t, "app", srv).want(t, 200, "success")
	for _, c := range api { // all look right, the spoilt one too
		c.get(t, "/upstream/app").want(t, 200, strings.ReplaceAll(srv, ";", "\n"))
	}
	bad.post(t, "app", s1).want(t, 500, refused)
	// The first request kills it.
	eventually(t, "the spoilt worker dies of a request", func() bool {
		p := dial(t, g.Proxy)
		r, err := p.try("GET", bare("GET", "/", "app"))
		if err == nil && r.body != "b" {
			t.Fatalf("the traffic gets %v", r)
		}
		return err != nil
	})
	c := g.successor(t, api, pids[0])
	c.post(t, "app", srv).want(t, 200, "success")
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
