package dyups_test

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"swallowkeeper/dyups"
)

// TestTengineOverASocket: a connection to each worker is kept over a unix socket as over TCP, and a
// worker that crashed is seen.
func TestTengineOverASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "api.sock")
	n := startTengine(t, tengineOptions{http: "server { listen unix:" + socket + "; keepalive_timeout 1h; " +
		"location / { dyups_interface; add_header X-Dyups-Worker $pid always; } }"})
	for i, address := range []string{"unix:" + socket, "unix://" + socket} {
		g := n.gateway(func(c *dyups.Config) {
			c.Address = address
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
		})
		want := set(web("a", 1, uint16(2+i)), web("b", 3))
		mustSync(t, g, want)
		if workers := g.Workers(); len(workers) != 4 {
			t.Fatalf("%s: %d workers: %+v", address, len(workers), workers)
		}
		before := n.workers()
		if err := syscall.Kill(before[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "there is a new worker", func() bool {
			now := n.workers()
			return len(now) == 4 && !slices.Contains(now, before[0])
		})
		eventually(t, "it has what the others have", func() bool { return mustSync(t, g, want).Empty() && len(g.Workers()) == 4 })
		n.holds(want)
	}
}
