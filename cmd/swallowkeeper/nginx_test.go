package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallLua(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dyups")
	call := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"nginx"}, args...), nil, &out, &errs); code != want {
			t.Errorf("%v: exit code %d, want %d: %s%s", args, code, want, &out, &errs)
		}
		return out.String(), errs.String()
	}
	out, _ := call(0, "install-lua", "--dir", dir, "--listen", "unix:/run/dyups/dyups.sock")
	for _, want := range []string{
		"written   " + dir + "/dyups/api.lua\n", "include " + dir + "/dyups.conf;", "include " + dir + "/proxy.conf;",
		`address = "unix:/run/dyups/dyups.sock"`, `path = "/var/lib/swallowkeeper/dyups.upstream.conf"`, "d /run/dyups 0750 root swallowkeeper -", "set $dyups_upstream $service;",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in what was printed:\n%s", want, out)
		}
	}
	if out, _ := call(0, "install-lua", "--dir", dir, "--listen", "unix:/run/dyups/dyups.sock"); strings.Contains(out, "written") {
		t.Errorf("it was written again:\n%s", out)
	}
	changed := filepath.Join(dir, "proxy.conf")
	if err := os.WriteFile(changed, []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := call(1, "install-lua", "--dir", dir); !strings.Contains(errs, changed) || !strings.Contains(errs, "--force") {
		t.Errorf("the error does not name the file: %s", errs)
	}
	if out, _ := call(0, "install-lua", "--dir", dir, "--force"); !strings.Contains(out, "forced    "+changed) {
		t.Errorf("printed:\n%s", out)
	}
	if _, errs := call(2, "install-lua", "--dir", dir, "--listen", "0.0.0.0:18882"); !strings.Contains(errs, "loopback") {
		t.Errorf("error: %s", errs)
	}
	if _, errs := call(2); !strings.Contains(errs, "install-lua") {
		t.Errorf("error: %s", errs)
	}
	call(2, "install-lua", "extra")
	if out, _ := call(0, "install-lua", "--dir", dir+"2", "--listen", "127.0.0.1:18882"); !strings.Contains(out, `address = "http://127.0.0.1:18882"`) ||
		strings.Contains(out, "tmpfiles") || !strings.Contains(out, "Every account of this machine") {
		t.Errorf("printed:\n%s", out)
	}
}
