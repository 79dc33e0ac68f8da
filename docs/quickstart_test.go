package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// quickStart types what a README's quick start says, in a folder and on ports of its own, and expects what it shows there.
func quickStart(t *testing.T, program string, blocks []snippet) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx here: scripts/setup-tests.sh installs it on Debian")
	}
	here := filepath.Join(t.TempDir(), "quickstart")
	moves := []string{"/tmp/quickstart", here}
	free := loopback.Free(t, 4)
	slices.Sort(free) // what is shown in the order of the ports stays so
	for i, port := range []string{"8001", "8002", "8080", "9180"} {
		_, instead, _ := strings.Cut(free[i], ":")
		moves = append(moves, port, instead)
	}
	moved := strings.NewReplacer(moves...)
	// Whatever the walk left running ends with the test: nothing else has this folder in its command line or its pid file.
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(here, "nginx.pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGTERM)
			}
		}
	})
	steps := stepsOf(blocks)
	if len(steps) < 10 {
		t.Fatalf("the quick start has %d commands", len(steps))
	}
	for _, s := range steps {
		command := strings.ReplaceAll(moved.Replace(s.command), "bin/swallowkeeper", program)
		switch {
		case strings.HasPrefix(command, "sudo apt-get"), command == "make build": // done
			continue
		case strings.HasPrefix(command, "cp -r demo/quickstart "):
			copied(t, here, moved)
			continue
		}
		if background, is := strings.CutSuffix(command, " &"); is {
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec "+background)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended it
			continue
		}
		s.expect(t, command, moved.Replace(s.output))
	}
}

// copied is demo/quickstart in a folder of its own.
func copied(t *testing.T, to string, moved *strings.Replacer) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS("../demo/quickstart")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(to, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte(moved.Replace(read(t, file))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
