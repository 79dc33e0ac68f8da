package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two daemons have one conf file, for somebody removed the lock, and one of them is cut off from Consul: what it has
// is older than the file, and reaches neither the file nor the gateway, however often it compares them.
func TestTheOlderOfTwoDaemons(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	direct, way := r.consul, r.tapped(nil)
	r.consul = way.addr
	r.configure()
	r.up("a", "10.0.0.1:80", "10.0.0.2:80")
	old := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})

	if err := os.Remove(filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.lock")); err != nil {
		t.Fatal(err)
	}
	other := *r
	other.toml, other.socket, other.consul = r.toml+".other", r.socket+"2", direct
	other.configure().process(nil).says("is in sync")
	way.silence(true)
	old.says("can't read")

	for n, addr := range []string{"10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"} {
		before := len(r.nginx[0].Calls())
		r.up("a", addr)
		all := strings.Join([]string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"}[:3+n], " ")
		r.inSync(want{"a": all})
		until(t, patience, func() string { // the old one compares the gateway, and gives way
			if st := r.status(); st.Generation.Number != r.read().Number || !st.InSync {
				return "the old one has another generation"
			}
			return ""
		})
		for _, c := range r.nginx[0].Calls()[before:] {
			if c.Method == http.MethodPost && !strings.Contains(c.Body, addr) {
				t.Errorf("an older state went out: %s", c.Body)
			}
		}
		r.inSync(want{"a": all})
	}
	old.says("another process writes the conf file")
	way.silence(false)
	r.up("a", "10.0.0.6:80")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80 10.0.0.6:80"})
}
