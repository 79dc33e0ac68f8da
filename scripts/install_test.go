package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall runs `make install` as under sudo: with no Go on the PATH.
func TestInstall(t *testing.T) {
	tool := find(t, "make")
	dir, dest := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "Makefile"), read(t, "../Makefile"), 0o644)
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go"), "#!/bin/sh\necho 'no Go here' >&2\nexit 127\n", 0o755)
	install := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), tool, "install", "DESTDIR="+dest)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	if out, err := install(); err == nil || !strings.Contains(out, "run make build first") {
		t.Errorf("nothing is built: %v\n%s", err, out)
	}
	if left, err := os.ReadDir(dest); err != nil || len(left) > 0 {
		t.Errorf("nothing is built, and it installed %v (%v)", left, err)
	}

	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "bin", "swallowkeeper"), "built", 0o755)
	for range 2 { // an update leaves the configuration alone
		if out, err := install(); err != nil {
			t.Fatalf("install: %v\n%s", err, out)
		}
		config := filepath.Join(dest, "etc/swallowkeeper.toml")
		if _, err := os.Stat(config); err != nil {
			t.Fatal(err)
		}
		write(t, config, "mine", 0o640)
	}
	for file, want := range map[string]string{
		"usr/local/bin/swallowkeeper":                          "built",
		"etc/systemd/system/swallowkeeper.service":             read(t, "swallowkeeper.service"),
		"etc/swallowkeeper.toml":                               "mine",
		"etc/tmpfiles.d/swallowkeeper.conf":                    read(t, "dyups.tmpfiles.conf"),
		"etc/systemd/system/nginx.service.d/dyups-socket.conf": read(t, "nginx-dyups.conf"),
	} {
		if got := read(t, filepath.Join(dest, file)); got != want {
			t.Errorf("%s: got %.100q", file, got)
		}
	}
}
