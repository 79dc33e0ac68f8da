package persist_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// writable is what another account finds: this test binary is run as it.
func writable(t *testing.T, path string, account uint32) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), copied(t), path)
	cmd.Env = []string{childRole + "=writable"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: account, Gid: account}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// copied is this test binary where every account may run it.
func copied(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "persist-test-") //nolint:usetesting // that one's parent is for its owner alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "persist.test")
	if err := os.WriteFile(name, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWritable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const account = 4711
	chown := func(t *testing.T, path string, uid int) {
		t.Helper()
		if err := os.Lchown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		says    []string // nothing: it can be written
	}{
		{"its own folder", func(t *testing.T, dir string) { chown(t, dir, account) }, nil},
		{"a folder of root", func(*testing.T, string) {}, []string{"user 4711 can't write the folder", "permission denied"}},
		{"a folder of root with its own file in it", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "u.conf"), "")
			chown(t, filepath.Join(dir, "u.conf"), account)
		}, []string{"user 4711 can't write the folder", "permission denied"}},
		{"a lock of root", func(t *testing.T, dir string) {
			chown(t, dir, account)
			put(t, lockIn(dir), "")
			if err := os.Chmod(lockIn(dir), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"user 4711 can't open the lock", "permission denied"}},
		{"a history of root", func(t *testing.T, dir string) {
			chown(t, dir, account)
			if err := os.Mkdir(filepath.Join(dir, ".u.conf.history"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, []string{"user 4711 can't write the history", "permission denied"}},
		{"root's file in a folder with the sticky bit", func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "u.conf"), "")
		}, []string{"user 4711 can't replace", "it belongs to user 0"}},
		{"no folder", func(t *testing.T, dir string) {
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
		}, []string{"no such file or directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			above, err := os.MkdirTemp("/tmp", "persist-test-") //nolint:usetesting // that one's parent is for its owner alone
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(above) })
			dir := filepath.Join(above, "conf")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(above, 0o755); err != nil {
				t.Fatal(err)
			}
			test.prepare(t, dir)
			before, _ := os.ReadDir(dir)
			said := writable(t, filepath.Join(dir, "u.conf"), account)
			if test.says == nil && said != "" {
				t.Errorf("it says %q", said)
			}
			for _, part := range test.says {
				if !strings.Contains(said, part) {
					t.Errorf("it says %q, not %q", said, part)
				}
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) {
				t.Errorf("it leaves behind %v", after)
			}
		})
	}
}
