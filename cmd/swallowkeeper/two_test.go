package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/status"
)

// TestTwoProcessesOneFile: a process that does not see the daemon's lock, as on another machine, freezes and releases by
// hand. The daemon writes over neither.
func TestTwoProcessesOneFile(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	d.says("the gateway is in sync")

	text, err := os.ReadFile(r.toml)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(r.dir, "elsewhere.toml")
	if err := os.WriteFile(elsewhere, []byte(strings.Replace(string(text), r.socket, r.socket+"2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.lock")); err != nil {
		t.Fatal(err)
	}
	call(t, nil, "freeze", "--all", "--config", elsewhere).wants(t, status.ExitInSync, "by hand")
	r.up("a", "10.0.0.3:80")
	eventually(t, 30*time.Second, "the daemon keeps to the freeze", func() bool {
		return strings.Contains(r.command("explain", r.prefix+"a", "10.0.0.3:80").stdout, "frozen")
	})
	d.says("another process writes the conf file")
	if g := r.read(); len(g.Frozen) != 1 || g.Number != 1 {
		t.Errorf("generation %d, frozen is %v", g.Number, g.Frozen)
	}
	call(t, nil, "unfreeze", "--all", "--config", elsewhere).wants(t, status.ExitInSync, "by hand")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"})
	if code := d.stop(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if g := r.read(); len(g.Frozen) != 0 {
		t.Errorf("frozen is %v", g.Frozen)
	}
}
