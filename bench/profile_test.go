package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// profiled keeps profiles of ours while do runs, where -profile names a folder: what was allocated until then and until its
// end, and where the processor time went.
func (w *world) profiled(b *testing.B, s *subject, what string, do func()) {
	b.Helper()
	if *profile == "" || s.name != Ours {
		do()
		return
	}
	tell := func(file string) {
		if err := s.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			b.Fatal(err)
		}
		await(b, file, time.Minute, func() bool {
			s.alive(b)
			return os.Remove(filepath.Join(s.dir, file)) == nil
		})
	}
	tell("profile.begun")
	do()
	tell("profile.ended")
	if err := os.MkdirAll(*profile, 0o755); err != nil { //nolint:gosec // to be looked at
		b.Fatal(err)
	}
	for _, file := range []string{"cpu.pprof", "allocs-begin.pprof", "allocs-end.pprof"} {
		text, err := os.ReadFile(filepath.Join(s.dir, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(*profile, fmt.Sprintf("%s-%d-%s-%s", w.way, w.services, what, file)), text, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
