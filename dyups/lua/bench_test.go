package lua_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
)

// BenchmarkTraffic measures requests a second through the library and through a static
// upstream of the same servers, side by side: each in an nginx of its own with two workers,
// taking turns, with the medians reported, that of the ratio of each turn among them.
//
//	go test ./dyups/lua -run '^$' -bench Traffic -benchtime 15x
func BenchmarkTraffic(b *testing.B) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Skip("there is no wrk: install it")
	}
	for _, count := range []int{2, 10, 50} {
		b.Run(fmt.Sprintf("servers=%d", count), func(b *testing.B) {
			var listen strings.Builder
			addrs := loopback.Free(b, count)
			for _, a := range addrs {
				fmt.Fprintf(&listen, "listen %s;", a)
			}
			startPlain(b, "server { "+listen.String()+" location / { return 200 hello; } }")
			body := servers(addrs, " max_fails=3 fail_timeout=2s")
			plain := loopback.Free(b, 1)[0]
			startPlain(b, "upstream static { "+body+" keepalive 256; } server { listen "+plain+`; location / {
				proxy_pass http://static; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } }`)
			n := start(b, options{workers: 2})
			n.post("app", body+"keepalive 256;")
			var static, library, ratio []float64
			b.ResetTimer()
			for range b.N { // A B B A: what else the machine does falls on both
				first := requestsPerSecond(b, wrk, "http://"+plain)
				z := requestsPerSecond(b, wrk, n.proxy) + requestsPerSecond(b, wrk, n.proxy)
				a := first + requestsPerSecond(b, wrk, "http://"+plain)
				static, library, ratio = append(static, a/2), append(library, z/2), append(ratio, z/a)
			}
			b.ReportMetric(median(static), "static/s")
			b.ReportMetric(median(library), "library/s")
			b.ReportMetric(median(ratio), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

var (
	perSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	trouble   = regexp.MustCompile(`Non-2xx.*|Socket errors.*`)
)

func requestsPerSecond(b *testing.B, wrk, url string) float64 {
	b.Helper()
	out, err := exec.Command(wrk, "-t1", "-c32", "-d1s", "-H", "Host: app", url+"/").CombinedOutput()
	m := perSecond.FindSubmatch(out)
	if err != nil || m == nil || trouble.Match(out) {
		b.Fatalf("wrk: %v: %s", err, out)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// startPlain starts an nginx without the library.
func startPlain(b *testing.B, block string) {
	b.Helper()
	bin, _ := binary(b)
	dir := b.TempDir()
	n := &nginx{t: b, dir: dir}
	ready := loopback.Free(b, 1)[0]
	n.api = "http://" + ready
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	n.write(dir+"/nginx.conf", fmt.Sprintf(`daemon off; %s worker_processes 2; pid %[2]s/nginx.pid;
error_log %[2]s/error.log notice;
events { worker_connections 1024; }
http {
	access_log off; keepalive_requests 100000000;
	client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
	server { listen %s; return 200 ready; }
	%s
}
`, user, dir, ready, block))
	n.run(bin)
}

// tenServers is a body of them; shift makes another one of the same length.
func tenServers(i, shift int) string {
	var b strings.Builder
	b.WriteString("keepalive 20;\n")
	for k := range 10 {
		fmt.Fprintf(&b, "server 10.%d.%d.%d:%d weight=1 max_fails=3 fail_timeout=2s;\n",
			i>>8&255, i&255, k+shift+100, 18000+k)
	}
	return b.String()
}

func fill(t testing.TB, n *nginx, count int) {
	t.Helper()
	for i := range count {
		n.post(fmt.Sprintf("service-%04d", i), tenServers(i, 0))
	}
}

// TestFiveThousandUpstreams of ten servers fit into the default size, and changing one of
// them takes about as long as changing one of ten.
func TestFiveThousandUpstreams(t *testing.T) {
	few, lots := start(t, options{}), start(t, options{})
	fill(t, few, 10)
	fill(t, lots, 5000)
	var a, z []float64
	for k := range 101 {
		for _, row := range []struct {
			n    *nginx
			took *[]float64
		}{{few, &a}, {lots, &z}} {
			began := time.Now()
			row.n.post("service-0007", tenServers(7, k%2))
			*row.took = append(*row.took, float64(time.Since(began)))
		}
	}
	ratio := median(z) / median(a)
	t.Logf("POST among 10: %.0f µs, among 5,000: %.0f µs, ratio %.2f", median(a)/1e3, median(z)/1e3, ratio)
	if ratio > 5 {
		t.Errorf("a POST among 5,000 takes %.1f times what it takes among 10", ratio)
	}
}

// BenchmarkMemory measures what an upstream of ten servers takes in shared memory.
//
//	go test ./dyups/lua -run '^$' -bench Memory -benchtime 1x
func BenchmarkMemory(b *testing.B) {
	const count = 5000
	for range b.N {
		port := loopback.Free(b, 1)[0]
		n := start(b, options{workers: 1, http: "server { listen " + port + `; location / {
			content_by_lua_block { ngx.print(ngx.shared.dyups:free_space()) } } }`})
		look := func() float64 {
			free, err := strconv.ParseFloat(ask(http.DefaultClient, "http://"+port, "x", "/").body, 64)
			if err != nil {
				b.Fatal(err)
			}
			return free
		}
		before := look()
		fill(b, n, count)
		b.ReportMetric((before-look())/count, "shared-B/upstream")
		b.ReportMetric(look(), "free-B")
		b.ReportMetric(0, "ns/op")
	}
}
