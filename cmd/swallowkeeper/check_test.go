package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckShowsNoSecret: in no format, of no kind, whoever fails. Which keys are secrets the configuration's own test
// sees to.
func TestCheckShowsNoSecret(t *testing.T) {
	const hush = "hushhush-hushhush-hushhush"
	t.Setenv("CONSUL_HTTP_ADDR", "") // a test machine's
	empty := filepath.Join(t.TempDir(), "empty.toml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"text", "json", "yaml"} {
		args := []string{
			"check", "--timeout", "200ms", "-o", output, "--set", "registry.address=127.0.0.1:1", "--set", "gateway.address=http://127.0.0.1:2",
			"--set", "registry.token=" + hush, "--set", "status.token=" + hush, "--set", "persist.path=" + t.TempDir() + "/u.conf",
			"--set", "status.socket=", "--config", empty,
		}
		g := call(t, nil, args...)
		if strings.Contains(g.stdout+g.stderr, hush) || !strings.Contains(g.stdout, "(set)") {
			t.Errorf("as %s, exit code %d:\n%s%s", output, g.code, g.stdout, g.stderr)
		}
	}
}
