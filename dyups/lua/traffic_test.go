package lua_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
)

// backends are servers that answer their number; on /hold an answer waits for the
// test's word.
type backends struct {
	addrs []string
	hits  []atomic.Int64
	held  atomic.Int64
	last  atomic.Int64 // that holds an answer back
	free  chan struct{}
}

func newBackends(t testing.TB, n int) *backends {
	t.Helper()
	b := &backends{hits: make([]atomic.Int64, n), free: make(chan struct{})}
	for i := range n {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.hits[i].Add(1)
			if strings.HasPrefix(r.URL.Path, "/hold") {
				b.last.Store(int64(i))
				b.held.Add(1)
				<-b.free
			}
			_, _ = fmt.Fprint(w, i)
		}))
		t.Cleanup(s.Close)
		b.addrs = append(b.addrs, strings.TrimPrefix(s.URL, "http://"))
	}
	return b
}

// TestNoRequestLost changes an upstream 200 times while requests run: its servers come and
// go, and each is stopped only when no worker uses it any more.
func TestNoRequestLost(t *testing.T) {
	const requests, updates, clients = 10_000, 200, 8
	n := start(t, options{})
	b := newBackends(t, 6)
	n.post("app", servers(b.addrs[:3], " max_fails=3 fail_timeout=2s"))
	var done, failed atomic.Int64
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range clients {
		wg.Go(func() {
			tr := &http.Transport{MaxIdleConnsPerHost: 1}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr, Timeout: 20 * time.Second}
			for {
				select {
				case <-over:
					return
				default:
				}
				if s := ask(client, n.proxy, "app", "/"); s.err != nil || s.status != 200 {
					if failed.Add(1) < 4 {
						t.Errorf("a request was lost: %+v", s)
					}
				}
				done.Add(1)
			}
		})
	}
	for i := range updates {
		eventually(t, "requests go on", func() bool { return done.Load() >= int64(i*requests/updates) })
		from := i % 4
		n.post("app", "keepalive 20;"+servers(b.addrs[from:from+3], fmt.Sprintf(" weight=%d", i%5+1)))
	}
	eventually(t, "all requests are made", func() bool { return done.Load() >= requests })
	close(over)
	wg.Wait()
	t.Logf("%d requests, %d failed, during %d updates", done.Load(), failed.Load(), updates)
}

// TestChangeIsSeenAtOnce: after the answer to a POST no worker uses the old server.
func TestChangeIsSeenAtOnce(t *testing.T) {
	n := start(t, options{})
	b := newBackends(t, 2)
	var clients []*http.Client
	for range 16 { // kept connections, over all workers
		tr := &http.Transport{MaxIdleConnsPerHost: 1}
		t.Cleanup(tr.CloseIdleConnections)
		clients = append(clients, &http.Client{Transport: tr})
	}
	for i := range 50 {
		n.post("app", servers(b.addrs[i%2:i%2+1], ""))
		for _, c := range clients {
			if s := ask(c, n.proxy, "app", "/"); s.body != fmt.Sprint(i%2) {
				t.Fatalf("after change %d: %+v", i, s)
			}
		}
	}
}

func TestDistributionByWeight(t *testing.T) {
	const requests = 6000
	n := start(t, options{})
	weights := []int{5, 1, 3, 1}
	for _, method := range []string{"", "random;", "hash $request_uri;"} {
		t.Run(method, func(t *testing.T) {
			b := newBackends(t, len(weights))
			body := method
			for i, w := range weights {
				body += fmt.Sprintf("server %s weight=%d;", b.addrs[i], w)
			}
			n.post("app", body)
			var wg sync.WaitGroup
			for c := range 8 {
				wg.Go(func() {
					client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
					defer client.CloseIdleConnections()
					for i := range requests / 8 {
						if s := ask(client, n.proxy, "app", fmt.Sprintf("/%d/%d", c, i)); s.status != 200 {
							t.Errorf("%+v", s)
							return
						}
					}
				})
			}
			wg.Wait()
			for i, w := range weights {
				share, want := float64(b.hits[i].Load())/requests, float64(w)/10
				if math.Abs(share-want) > 0.02 {
					t.Errorf("server %d of weight %d got %.3f of the requests, want %.3f", i, w, share, want)
				}
			}
		})
	}
}

// TestLikeNginx asks the library and an upstream of nginx's own with the same
// servers, request by request, and wants the same servers in the same order, those that
// fail and are left included. One worker, as each counts by itself.
func TestLikeNginx(t *testing.T) {
	b := newBackends(t, 4)
	dead := []string{loopback.Refused(t), loopback.Refused(t)}
	up := func(i int, params string) string { return "server " + b.addrs[i] + params + ";" }
	gone := func(i int, params string) string { return "server " + dead[i] + params + ";" }
	table := []struct{ name, body string }{
		{"equal", up(0, "") + up(1, "") + up(2, "")},
		{"weights", up(0, " weight=5") + up(1, " weight=1") + up(2, " weight=3")},
		{"one", up(0, "")},
		{"one dead", gone(0, "")},
		{"one down", up(0, " down")},
		{"down among others", up(0, " down") + up(1, " weight=2") + up(2, "")},
		{"dead first", gone(0, "") + up(0, "") + up(1, "")},
		{"dead with weight and patience", gone(0, " weight=4 max_fails=3 fail_timeout=60s") + up(0, " weight=2") + up(1, "")},
		{"dead for ever tried", gone(0, " max_fails=0") + up(0, "")},
		{"all dead", gone(0, " fail_timeout=60s") + gone(1, " max_fails=2 fail_timeout=60s")},
		{"backup unused", up(0, "") + up(1, " backup")},
		{"backup of the dead", gone(0, " fail_timeout=60s") + up(0, " backup") + up(1, " backup weight=2")},
		{"backup of the down", up(0, " down") + up(1, " backup")},
		{"dead backup", gone(0, " fail_timeout=60s") + gone(1, " backup fail_timeout=60s")},
		{"the same twice", up(0, "") + up(0, "") + up(1, "")},
		{"the same dead twice", gone(0, "") + gone(0, " max_fails=2") + up(1, "")},
		{"least_conn", "least_conn;" + up(0, " weight=2") + up(1, "") + up(2, "")},
		{"least_conn with the dead", "least_conn;" + gone(0, " weight=3") + up(0, " weight=2") + up(1, "") + up(2, " backup")},
		{"ip_hash", "ip_hash;" + up(0, "") + up(1, " weight=3") + up(2, "")},
		{"ip_hash with the dead", "ip_hash;" + gone(0, " weight=40") + up(1, " weight=3") + gone(1, " weight=9") + up(2, "")},
		{"hash", "hash $request_uri;" + up(0, "") + up(1, " weight=3") + up(2, "")},
		{"hash with the dead", "hash x$request_uri;" + gone(0, " weight=4") + up(1, " weight=3") + gone(1, "") + up(2, "")},
		{"hash of nothing", "hash $arg_nothing;" + up(0, "") + up(1, " weight=3")},
	}
	var static strings.Builder
	for i, row := range table {
		fmt.Fprintf(&static, "upstream static%d { %s keepalive 16; }\n", i, row.body)
	}
	port := loopback.Free(t, 1)[0]
	fmt.Fprintf(&static, `server { listen %s; location / {
		set $static $host; proxy_pass http://$static; proxy_http_version 1.1; proxy_set_header Connection "";
		add_header X-Upstream "$upstream_addr" always; %s
	} }`, port, nextOn)
	n := start(t, options{workers: 1, http: static.String(), location: nextOn})
	for i, row := range table {
		n.post(fmt.Sprintf("app%d", i), row.body)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	t.Cleanup(client.CloseIdleConnections)
	for i, row := range table {
		t.Run(row.name, func(t *testing.T) {
			compare := func(k int, path string) {
				t.Helper()
				want := ask(client, "http://"+port, fmt.Sprintf("static%d", i), path)
				got := ask(client, n.proxy, fmt.Sprintf("app%d", i), path)
				if want.status != got.status || want.status == 200 && want.body != got.body || !sameTries(want, got) {
					t.Fatalf("request %d: nginx %+v, the library %+v", k, want, got)
				}
			}
			for k := range 60 {
				compare(k, fmt.Sprintf("/%d", k%13))
			}
		})
	}
}

// sameTries compares the servers that were tried. Where none is left nginx shows the
// upstream's name; a library can't, and the last address is shown again, or none.
func sameTries(nginx, library served) bool {
	want, got := strings.Split(nginx.tried, ", "), strings.Split(library.tried, ", ")
	if last := len(want) - 1; strings.HasPrefix(want[last], "static") && len(got) == len(want) {
		want, got = want[:last], got[:last]
	}
	return slices.Equal(want, got)
}

// nextOn makes an answer of status 500 a failure, and the next server's turn.
const nextOn = "proxy_next_upstream error timeout http_500 http_404;"

// TestFailuresLikeNginx does the same with servers that answer errors, close the
// connection, or refuse it for a while and come back.
func TestFailuresLikeNginx(t *testing.T) {
	var mood [3]atomic.Int32 // 0 well, 1 answers 500, 2 answers 404, 3 closes
	var addrs []string
	for i := range mood {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			switch mood[i].Load() {
			case 1:
				w.WriteHeader(500)
			case 2:
				w.WriteHeader(404)
			case 3:
				panic(http.ErrAbortHandler)
			}
			_, _ = fmt.Fprint(w, i)
		}))
		t.Cleanup(s.Close)
		addrs = append(addrs, strings.TrimPrefix(s.URL, "http://"))
	}
	body := "server " + addrs[0] + " weight=4 max_fails=2 fail_timeout=2s;server " + addrs[1] +
		" weight=2 max_fails=3 fail_timeout=2s;server " + addrs[2] + " max_fails=1 fail_timeout=1s;"
	// Without keepalive: on a kept connection that the server closed nginx tries once more.
	static := "upstream static { " + body + " }\n"
	port := loopback.Free(t, 1)[0]
	static += "server { listen " + port + "; location / { proxy_pass http://static; " + nextOn +
		` add_header X-Upstream "$upstream_addr" always; } }`
	n := start(t, options{workers: 1, http: static, location: nextOn + " proxy_set_header Connection close;"})
	n.post("app", body)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}
	t.Cleanup(client.CloseIdleConnections)
	k := 0
	round := func(requests int, moods ...int32) {
		t.Helper()
		for i, m := range moods {
			mood[i].Store(m)
		}
		for range requests {
			k++
			awaitSecond() // both count in whole seconds
			want := ask(client, "http://"+port, "static", "/")
			got := ask(client, n.proxy, "app", "/")
			if want.status != got.status || !sameTries(want, got) {
				t.Fatalf("request %d, moods %v: nginx %+v, the library %+v", k, moods, want, got)
			}
		}
	}
	pause := func(seconds int) {
		for range seconds {
			select {
			case <-t.Context().Done():
			case <-time.After(time.Second):
			}
		}
	}
	round(14, 0, 0, 0)
	round(12, 1, 0, 0)
	round(6, 0, 0, 0)
	pause(3)
	round(14, 0, 0, 0)
	round(8, 3, 0, 3)
	round(8, 2, 2, 0)
	pause(2)
	round(8, 1, 3, 0)
	round(8, 3, 3, 3)
	pause(4)
	round(20, 0, 0, 0)
}

// awaitSecond waits where a second is about to end, so that two requests fall into one.
func awaitSecond() {
	if ms := time.Now().Nanosecond() / 1e6; ms > 900 {
		<-time.After(time.Duration(1050-ms) * time.Millisecond)
	}
}

// TestLeastConnLikeNginx holds each request, and compares who gets the next.
func TestLeastConnLikeNginx(t *testing.T) {
	b := newBackends(t, 3)
	body := "least_conn;server " + b.addrs[0] + " weight=3;server " + b.addrs[1] + " weight=2 max_conns=4;server " + b.addrs[2] + ";"
	port := loopback.Free(t, 1)[0]
	n := start(t, options{workers: 1, http: "upstream static { " + body + " } server { listen " + port +
		"; location / { proxy_pass http://static; } }"})
	n.post("app", body)
	client := &http.Client{Transport: &http.Transport{}}
	var wg sync.WaitGroup
	t.Cleanup(func() { close(b.free); wg.Wait() })
	hold := func(proxy string) int64 {
		before := b.held.Load()
		wg.Go(func() { ask(client, proxy, "app", "/hold") })
		eventually(t, "it is held", func() bool { return b.held.Load() == before+1 })
		return b.last.Load()
	}
	for i := range 20 {
		if want, got := hold("http://"+port), hold(n.proxy); want != got {
			t.Fatalf("request %d: nginx chooses server %d, the library %d", i, want, got)
		}
	}
}

// TestConnectionsAreCounted holds connections open until nginx gives up: max_conns goes by
// them, and each is counted out although an error_page leads the request elsewhere,
// through the library once more.
func TestConnectionsAreCounted(t *testing.T) {
	n := start(t, options{workers: 1, location: `proxy_read_timeout 300ms; proxy_next_upstream off;
			error_page 502 504 /elsewhere;`})
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	b := newBackends(t, 2)
	t.Cleanup(func() { close(b.free) })
	for round, method := range []string{"", "", "least_conn;", "least_conn;", "random;", "hash $request_uri;"} {
		n.post("app", method+"server "+b.addrs[0]+" max_conns=2 max_fails=0;server "+b.addrs[1]+" max_conns=1 max_fails=0;")
		var wg sync.WaitGroup
		before := b.held.Load()
		for range 3 {
			wg.Go(func() {
				if s := ask(client, n.proxy, "app", "/hold"); s.status != 504 || s.body != "0" && s.body != "1" {
					t.Errorf("round %d: held and led elsewhere: %+v", round, s)
				}
			})
		}
		eventually(t, fmt.Sprintf("round %d: all servers are busy", round), func() bool { return b.held.Load() == before+3 })
		if s := ask(client, n.proxy, "app", "/"); s.status != 502 {
			t.Errorf("round %d: a server beyond its max_conns: %+v", round, s)
		}
		wg.Wait()
	}
}

// TestCrashDuringTraffic kills workers while requests run: those of other workers go on, and
// the new worker has what the old one had.
func TestCrashDuringTraffic(t *testing.T) {
	n := start(t, options{})
	b := newBackends(t, 2)
	for i := range 20 {
		n.post(fmt.Sprintf("app%d", i), servers(b.addrs[i%2:i%2+1], ""))
	}
	for range 5 {
		pid := n.workers()[0]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the new worker is there", func() bool {
			pids := n.workers()
			return len(pids) == 4 && pids[0] != pid
		})
		for i := range 40 {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			if s := ask(client, n.proxy, fmt.Sprintf("app%d", i%20), "/"); s.body != fmt.Sprint(i%2) {
				t.Fatalf("%+v", s)
			}
		}
	}
}

// TestUnknownUpstream answers at once, without asking a resolver.
func TestUnknownUpstream(t *testing.T) {
	n := start(t, options{})
	for _, host := range []string{"nope", "a.very.long." + strings.Repeat("n", 3000), "127.0.0.1"} {
		began := time.Now()
		if s := ask(http.DefaultClient, n.proxy, host, "/"); s.status != 502 {
			t.Errorf("%.20s: %+v", host, s)
		}
		if d := time.Since(began); d > 10*time.Second { // a resolver is waited for three times as long
			t.Errorf("it took %s", d)
		}
	}
}

// TestLongBody goes up to nginx's limit, and over it.
func TestLongBody(t *testing.T) {
	n := start(t, options{dict: "4m"})
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "server 10.%d.%d.%d:80;\n", i>>16, i>>8&255, i&255)
	}
	n.post("big", b.String())
	if _, text, _ := n.call("GET", "/upstream/big", ""); strings.Count(text, "\n") != 20_000 {
		t.Errorf("%d servers", strings.Count(text, "\n"))
	}
	resp, err := http.Post(n.api+"/upstream/big", "", io.LimitReader(zeros{}, 1<<20+1))
	if err != nil {
		return // nginx closed the connection while the body was being sent
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestRefusalsAreNamed: the text is the module's, the reason stands in a header.
func TestRefusalsAreNamed(t *testing.T) {
	n := start(t, options{workers: 1})
	const s = "server 127.0.0.1:80;"
	for _, row := range []struct{ body, reason string }{
		{"\n\nserver 127.0.0.1:80 slow_start=3s;", `line 3: invalid parameter "slow_start=3s"`},
		{s + "zone z 64k;", `line 1: unknown directive "zone"`},
		{s + "ntlm;", `line 1: unknown directive "ntlm"`},
		{s + "hash $host consistent;", `line 1: "consistent" of hash is not known here`},
		{"server app.example:80;", `host names are not looked up, write an address in upstream "app.example:80"`},
		{"least_conn;ip_hash;" + s, `a second balancing method "ip_hash"`},
		{"random two round_robin;" + s, `invalid parameter "round_robin"`},
		{s + "x\r\ny\x01\xffz;", `unknown directive "x"`},
		{s + "\x00;", `a zero byte`},
		{s + strings.Repeat("q", 9999) + ";", `unknown directive "qqq`},
		{"server unix:;", "no good path"},
		{`server "unix:/a b";`, "no good path"},
		{"", "no servers are inside upstream"},
	} {
		status, text, h := n.call("POST", "/upstream/app", row.body)
		if got := h.Get("X-Dyups-Error"); status != 500 || text != "add server failed" || !strings.Contains(got, row.reason) {
			t.Errorf("%.30q: %d %q %q, want %q", row.body, status, text, got, row.reason)
		}
	}
	if status, _, h := n.call("POST", "/upstream/"+strings.Repeat("n", 4001), s); status != 500 || !strings.Contains(h.Get("X-Dyups-Error"), "4000") {
		t.Errorf("a name too long: %d %v", status, h)
	}
	if _, text, h := n.call("POST", "/upstream/app", s+"check interval=1000;"); text != "success" || !strings.Contains(h.Get("X-Dyups-Warning"), "check") {
		t.Errorf("check: %q %v", text, h)
	}
}
