package conformance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

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
