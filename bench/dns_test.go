package bench

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"swallowkeeper/internal/caddytestserver"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/registry/dns/dnstest"
)

const (
	dnsInterval = 250 * time.Millisecond
	// dnsGoal is what a change in DNS may take longer than the interval to the first request.
	dnsGoal = 20 * time.Millisecond
)

// BenchmarkDNS measures how long a change in DNS takes to the first request at the new server through a real Caddy, in both
// modes. Changes come at any moment of the interval: the worst of them is to be held against it.
func BenchmarkDNS(b *testing.B) {
	for _, mode := range []string{"config", "dynamic"} {
		b.Run(mode, func(b *testing.B) { measureDNS(b, mode) })
	}
}

func measureDNS(b *testing.B, mode string) {
	free := loopback.Free(b, 3)
	site, resolver := free[0], free[1]
	_, port, _ := net.SplitHostPort(free[2])
	servers := []string{"127.0.1.1", "127.0.1.2"}
	for _, ip := range servers {
		l, err := new(net.ListenConfig).Listen(b.Context(), "tcp", net.JoinHostPort(ip, port))
		if err != nil {
			b.Fatal(err)
		}
		s := &httptest.Server{Listener: l, Config: &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, ip)
		})}}
		s.Start()
		b.Cleanup(s.Close)
	}
	names, err := dnstest.Start()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(names.Stop)
	caddy := caddytestserver.Start(b, caddytestserver.Module(b), fmt.Sprintf(`{"admin":{"listen":"ADMIN"},"apps":{"http":{"servers":{"srv0":{"listen":[%q],
		"automatic_https":{"disable":true},"routes":[{"@id":"swallowkeeper"}]}}}}}`, site))
	dir := b.TempDir()
	conf := filepath.Join(dir, "swallowkeeper.toml")
	more := ""
	if mode == "dynamic" {
		more = fmt.Sprintf("mode = \"dynamic\"\nresolver = %q\n", resolver)
	}
	text := fmt.Sprintf("[log]\nlevel = \"error\"\n[guard]\ndamping = false\n[[registry]]\ntype = \"dns\"\nserver = %q\ninterval = %q\n[registry.service.web]\nquery = \"web.sk.test\"\nport = %s\n"+
		"[[route]]\nname = \"all\"\npath = \"/*\"\nupstream = \"web\"\n[persist]\npath = %q\n[[gateway]]\ntype = \"caddy\"\naddress = %q\n%s[status]\naddress = \"\"\nsocket = %q\n",
		names.Addr, dnsInterval.String(), port, filepath.Join(dir, "upstreams.conf"), "http://"+caddy.Admin, more, filepath.Join(dir, "s"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	move := func(to string) {
		if err := names.Set("web.sk.test", "A "+to); err != nil {
			b.Fatal(err)
		}
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: time.Second}
	served := func(by string) bool {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+site+"/", nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return false // Caddy closes what is idle when its configuration changes
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && string(body) == by
	}
	move(servers[0])
	startProcess(b, exec.Command(programs(b)[0].binary, "--config", conf)) //nolint:gosec // the benchmark's
	await(b, "the program is at work", time.Minute, func() bool { return served(servers[0]) })
	var all []float64
	for i := 1; b.Loop(); i++ {
		time.Sleep(dnsInterval + rand.N(dnsInterval))
		began := time.Now()
		move(servers[i%2])
		await(b, "the new server is used", time.Minute, func() bool { return served(servers[i%2]) })
		all = append(all, ms(time.Since(began)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(Percentile(all, 50), "p50-ms")
	b.ReportMetric(Percentile(all, 100)-ms(dnsInterval), "worst-over-interval-ms")
	if over := Percentile(all, 100) - ms(dnsInterval); over > ms(dnsGoal) {
		b.Logf("the slowest of %d took %.0f ms longer than the interval, the goal is %s", len(all), over, dnsGoal)
	}
}
