package conformance

import (
	"fmt"
	"strings"
	"testing"
)

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
