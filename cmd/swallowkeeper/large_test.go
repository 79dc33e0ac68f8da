package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/status"
)

// TestALargeConfFile has a conf file of shards over a daemon's life: it is killed, nginx loads what it wrote, the commands
// know its history, a shard that somebody removed is written again, and it is one file again when it is small.
func TestALargeConfFile(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	text, err := os.ReadFile(r.toml)
	if err == nil {
		err = os.WriteFile(r.toml, []byte(strings.Replace(string(text), "[persist]\n", "[persist]\nshard_above = \"2KB\"\n", 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	services := want{}
	for i := range 30 {
		name := fmt.Sprintf("s%d", i)
		r.up(name, fmt.Sprintf("10.0.0.%d:80", i+1))
		services[name] = fmt.Sprintf("10.0.0.%d:80", i+1)
	}
	d := r.process(nil)
	r.inSync(services)
	sharded := func(want bool) {
		t.Helper()
		text, err := os.ReadFile(r.conf)
		if err != nil || strings.Contains(string(text), "\ninclude /") != want {
			t.Errorf("it is of shards: %v, want %v, %v", !want, want, err)
		}
	}
	sharded(true)
	first := r.read()

	r.up("s7", "10.0.1.1:80")
	changed := maps.Clone(services)
	changed["s7"] = "10.0.0.8:80 10.0.1.1:80"
	r.inSync(changed)
	d.kill()
	d.wait()
	if err := r.nginx[0].Reload(); err != nil {
		t.Errorf("nginx does not load it: %v", err)
	}
	r.inSync(changed)
	if now := r.read(); now.Number != first.Number+1 {
		t.Errorf("generation %d follows %d", now.Number, first.Number)
	}

	posts := r.nginx[0].Posts()
	d = r.process(nil)
	d.says("the conf file is the baseline")
	d.says("in sync")
	if n := r.nginx[0].Posts(); n != posts {
		t.Errorf("%d posts after a restart", n-posts)
	}
	shards, err := filepath.Glob(filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.shards", "*.conf"))
	if err != nil || len(shards) < 10 {
		t.Fatalf("the shards are %q, %v", shards, err)
	}
	named, err := os.ReadFile(r.conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shards {
		if !strings.Contains(string(named), s) {
			continue
		}
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
		eventually(t, 4*patience, "the shard that was removed is there again", func() bool {
			_, err := os.Stat(s)
			return err == nil
		})
		break
	}
	r.command("history").wants(t, status.ExitInSync, fmt.Sprint(first.Number), fmt.Sprint(first.Number+1))
	r.command("rollback", fmt.Sprint(first.Number), "--yes").wants(t, status.ExitInSync)
	r.inSync(services)
	r.command("unfreeze", "--all").wants(t, status.ExitInSync)
	r.inSync(changed)

	for i := range 14 { // below the limit of one step
		r.gone(fmt.Sprintf("s%d", i), fmt.Sprintf("10.0.0.%d:80", i+1))
		delete(changed, fmt.Sprintf("s%d", i))
	}
	r.gone("s7", "10.0.1.1:80")
	r.inSync(changed)
	sharded(true) // it has not shrunk to half of the size
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
	r.once("--set", "persist.shard_above=256KB").wants(t, status.ExitInSync)
	sharded(true) // nothing has changed: it is written with the next change
	if err := r.nginx[0].Reload(); err != nil {
		t.Errorf("nginx does not load it: %v", err)
	}
	r.inSync(changed)
}
