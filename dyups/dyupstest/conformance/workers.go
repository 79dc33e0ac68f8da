package conformance

import (
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
