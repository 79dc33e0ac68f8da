package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/status"
)

// A service that registers an address of our own would open what listens there to whom nginx serves.
func TestARegistrationReachesNothingOfOurs(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"web": "10.0.0.1:80"})
	_, api, _ := strings.Cut(r.nginx[0].API(), "://")
	_, apiPort, err := net.SplitHostPort(api)
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		"api":        api,
		"api-alias":  "127.0.0.2:" + apiPort,
		"api-six":    "[::1]:" + apiPort,
		"api-mapped": "[::ffff:127.0.0.1]:" + apiPort,
		"metadata":   "169.254.169.254:80",
		"this-net":   "0.0.0.1:80",
	}
	for name, addr := range refused {
		r.up(name, addr)
	}
	r.up("new", "10.0.0.2:80")
	got := r.once()
	got.wants(t, status.ExitInSync, "is the address of the interface of gateway", "169.254.169.254 is link-local", "0.0.0.1 is no address of a machine")
	r.inSync(want{"web": "10.0.0.1:80", "new": "10.0.0.2:80"})

	d := r.daemon()
	d.says("is in sync")
	r.inSync(want{"web": "10.0.0.1:80", "new": "10.0.0.2:80"})
	for name := range refused {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.nginx[0].Proxy()+"/upstream/opened", strings.NewReader("server 6.6.6.6:80;"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = name
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK || strings.Contains(string(body), "success") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	if r.nginx[0].Copies("opened")[0] != "" {
		t.Error("the interface is open to the traffic")
	}
	d.stop()

	// What is written goes when the configuration changes, and what is configured is what counts.
	r.once("--set", "guard.deny_addresses=10.0.0.2/32").wants(t, status.ExitInSync, "10.0.0.2 is in 10.0.0.2/32 of deny_addresses")
	r.inSync(want{"web": "10.0.0.1:80"})
	r.once("--set", "guard.allow_addresses=10.0.0.2,169.254.169.254").wants(t, status.ExitInSync, "10.0.0.1 is in no range of allow_addresses")
	r.inSync(want{"new": "10.0.0.2:80", "metadata": "169.254.169.254:80"})
}

// A service that is called like a host of nginx.conf would keep nginx from loading, or take the host's traffic.
func TestNamesThatNginxConfUses(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"web": "10.0.0.1:80"})
	conf := filepath.Join(t.TempDir(), "nginx.conf")
	text := "http { upstream " + r.prefix + "static { server 10.0.0.9:80; } include " + r.conf + `;
server { location / { proxy_pass http://` + r.prefix + `web; } location /g { proxy_pass http://` + r.prefix + `grafana:3000; } } }`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"grafana", "static", "api.example", "new"} {
		r.up(name, "10.0.0.2:80")
	}
	set := []string{"--set", "gateway.nginx_conf=" + conf}
	r.once(set...).wants(t, status.ExitInSync,
		"nginx proxies to a host and port of this name ("+conf+":2)", "nginx's configuration has an upstream of this name ("+conf+":1)",
		`names = "dotted"`)
	r.inSync(want{"web": "10.0.0.1:80", "new": "10.0.0.2:80"})
	r.once(append(set, "--set", "registry.names=dotted")...).wants(t, status.ExitInSync)
	r.inSync(want{"web": "10.0.0.1:80", "new": "10.0.0.2:80", "api.example": "10.0.0.2:80"})
	r.once(set...).wants(t, status.ExitInSync) // what is written stays, plain names or not
	r.inSync(want{"web": "10.0.0.1:80", "new": "10.0.0.2:80", "api.example": "10.0.0.2:80"})
}
