package conformance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Compare makes the same calls, drawn by a seed, on the same workers of two interfaces
// that both count as right, with a queue so small that it is often full, and wants
// the same answers, byte by byte.
func Compare(t *testing.T, a, b Starter, seed uint64, calls int) {
	c := Config{ReadMsgTimeout: never, QueueBytes: 96 << 10, Conf: blocks("app", s1, "Web", s1+s2)}
	left, right := a(t, c).ordered(t), b(t, c).ordered(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range calls {
		worker := r.IntN(len(left))
		method, text, what := draw(r)
		want, errWant := left[worker].try(method, text)
		got, errGot := right[worker].try(method, text)
		if errWant != nil || errGot != nil {
			t.Fatalf("call %d, %s on worker %d: %v and %v", i, what, worker, errWant, errGot)
		}
		if want.status != got.status || want.body != got.body {
			t.Fatalf("call %d, %s on worker %d: %v and %v", i, what, worker, want, got)
		}
	}
}

// ordered is a connection to each worker, in the order of their pids.
func (g Target) ordered(t *testing.T) []*conn {
	t.Helper()
	found := g.workers(t)
	pids := make([]string, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	slices.SortFunc(pids, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	conns := make([]*conn, len(pids))
	for i, pid := range pids {
		conns[i] = found[pid]
	}
	return conns
}

func draw(r *rand.Rand) (method, text, what string) {
	names := []string{
		"app", "APP", "web", "c", "d", "e", "a.much.longer.name.than.the.others", strings.Repeat("n", 200),
	}
	name := names[r.IntN(len(names))]
	switch n := r.IntN(100); {
	case n < 45:
		body := drawBody(r)
		what = fmt.Sprintf("POST of %d bytes to %.9s", len(body), name)
		return "POST", request("POST", "/upstream/"+name, body), what
	case n < 60:
		return "DELETE", bare("DELETE", "/upstream/"+name, "x"), "DELETE of " + name
	case n < 75:
		return "GET", bare("GET", "/detail", "x"), "GET of detail"
	case n < 85:
		return "GET", bare("GET", "/list", "x"), "GET of list"
	default:
		return "GET", bare("GET", "/upstream/"+name, "x"), "GET of " + name
	}
}

func drawBody(r *rand.Rand) string {
	var b strings.Builder
	for i := range 1 + r.IntN(4) {
		fmt.Fprintf(&b, "server 127.0.0.%d:%d weight=%d;\n", i+1, 1000+r.IntN(3), 1+r.IntN(3))
	}
	switch r.IntN(10) {
	case 0:
		b.WriteString("server ;")
	case 1:
		b.WriteString("keepalive 20;")
	case 2, 3:
		b.WriteString(strings.Repeat(" ", 1<<r.IntN(12)))
	case 4, 5, 6:
		b.WriteString(strings.Repeat(" ", r.IntN(14_000)))
	case 7:
		b.WriteString(strings.Repeat(" ", r.IntN(40_000)))
	}
	return b.String()
}
