package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"swallowkeeper/status"
)

// TestFilesOfAnEarlierVersion: testdata/old has the conf file and the history that a program wrote before registries
// had kinds, at work for a while, with a freeze and a change that was held, and beside them what its commands said.
func TestFilesOfAnEarlierVersion(t *testing.T) {
	const old = "testdata/old"
	dir := t.TempDir()
	conf := filepath.Join(dir, "upstreams.conf")
	written, err := os.ReadFile(filepath.Join(old, "upstreams.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, written, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, ".upstreams.conf.history"), os.DirFS(filepath.Join(old, "history"))); err != nil {
		t.Fatal(err)
	}
	toml := filepath.Join(dir, "sk.toml")
	text := fmt.Sprintf(`
[[registry]]
address = "127.0.0.1:1"
[persist]
path = %q
[[gateway]]
address = "http://127.0.0.1:2"
[status]
address = ""
socket = %q
`, conf, filepath.Join(dir, "none.sock"))
	if err := os.WriteFile(toml, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, args := range map[string][]string{
		"history.json": {"history"}, "upstreams.json": {"upstreams"}, "diff-5-19.json": {"diff", "5", "19"},
	} {
		t.Run(file, func(t *testing.T) {
			g := call(t, nil, append(args, "--config", toml, "-o", "json")...)
			content, err := os.ReadFile(filepath.Join(old, file))
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := json.Unmarshal(content, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(g.stdout), &got); err != nil {
				t.Fatalf("%v\n%s\n%s", err, g.stdout, g.stderr)
			}
			has(t, "", got, want)
		})
	}
	// A pass that can't read its registry leaves all of it as it is.
	if g := call(t, nil, "--config", toml, "--sync-once", "--timeout", "200ms"); g.code != status.ExitFailed {
		t.Errorf("exit code %d: %s", g.code, g.stderr)
	}
	after, err := os.ReadFile(conf)
	if err != nil || !slices.Equal(after, written) {
		t.Errorf("the conf file is another now: %v\n%s", err, after)
	}
}

// has looks for all that was said in what is said now, which may be more.
func has(t *testing.T, at string, got, want any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		now, _ := got.(map[string]any)
		for key, w := range want {
			has(t, at+"."+key, now[key], w)
		}
	case []any:
		now, _ := got.([]any)
		if len(now) != len(want) {
			t.Errorf("%s has %d, want %d", at, len(now), len(want))
			return
		}
		for i, w := range want {
			has(t, fmt.Sprintf("%s[%d]", at, i), now[i], w)
		}
	default:
		if got != want {
			t.Errorf("%s is %v, want %v", at, got, want)
		}
	}
}
