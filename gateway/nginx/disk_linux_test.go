package nginx_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"swallowkeeper/upstream"
)

// TestFullDisk: nothing is switched, and nothing half is left.
func TestFullDisk(t *testing.T) { both(t, fullDisk) }

func fullDisk(t *testing.T, r *rig) {
	must(t, os.Mkdir(r.dir, 0o755))
	if err := unix.Mount("tmpfs", r.dir, "tmpfs", 0, "size=128k"); err != nil {
		if os.Getuid() == 0 && os.Getenv("CI") != "" {
			t.Fatalf("mount a small disk: %v", err)
		}
		t.Skipf("only root can mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(r.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	g := r.gateway(t)
	one := set(with(t, "web", "127.0.0.1:1"))
	must(t, change(t, g, one))
	var many []upstream.Upstream
	for i := range 60 {
		many = append(many, with(t, fmt.Sprintf("s%d", i), "127.0.0.1:1"))
	}
	err := change(t, g, set(many...))
	says(t, err, r.dir, "no space left on device")
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v does not tell its cause", err)
	}
	if got := r.folders(t); !slices.Equal(got, []string{"current", "generation-1"}) || r.count() != 1 {
		t.Errorf("there is %q, %d reloads", got, r.count())
	}
	has(t, g, one)
	must(t, change(t, g, set(with(t, "web", "127.0.0.1:2"))))
}
