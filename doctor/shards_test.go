package doctor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/doctor"
	"swallowkeeper/generation"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/persist"
	"swallowkeeper/upstream"
)

// TestShards has a conf file that includes its upstreams, as package persist writes it: they are swallowkeeper's own, the
// file is included once, and a shard that nginx can't find is said, by nginx's files and by nginx itself.
func TestShards(t *testing.T) {
	dir := t.TempDir()
	var all []upstream.Upstream
	for i := range 50 {
		all = append(all, up(fmt.Sprintf("s%d", i), 2))
	}
	c := persist.DefaultConfig()
	c.Path, c.ShardAbove = filepath.Join(dir, "conf.d", "dyups.upstream.conf"), "1KB"
	if err := os.MkdirAll(filepath.Dir(c.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := persist.Open(c, logs.Silent())
	if err == nil {
		_, err = f.Save(t.Context(), generation.Generation{Set: set(all...)})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	main := filepath.Join(dir, "nginx.conf")
	conf := "events {} http { access_log off;"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += fmt.Sprintf(" %s_temp_path %s/%s;", kind, dir, kind)
	}
	write(t, main, conf+"\ninclude conf.d/*.conf;\n}\n")

	ways := map[string]doctor.NginxSource{"files": {File: main}}
	for name, program := range nginxtest.Programs() {
		ways[name] = doctor.NginxSource{Program: program, Args: []string{"-p", dir, "-c", main, "-g", "pid " + dir + "/nginx.pid; error_log stderr;"}}
	}
	found := func(t *testing.T, from doctor.NginxSource) []string {
		t.Helper()
		tree, elsewhere, found := doctor.ReadNginx(t.Context(), from)
		var checks []string
		for _, f := range doctor.Sort(append(found, doctor.Examine(doctor.Facts{
			ConfPath: c.Path, Nginx: tree, Elsewhere: elsewhere, Written: set(all...), Wanted: set(all...),
		})...)) {
			if slices.Contains([]string{"conf-included", "conf-shards", "duplicate", "nginx-refuses", "nginx-unread"}, f.Check) {
				checks = append(checks, f.Check+" "+f.What)
			}
		}
		return checks
	}
	for name, from := range ways {
		t.Run(name, func(t *testing.T) {
			if is := found(t, from); len(is) > 0 {
				t.Errorf("found %q", is)
			}
		})
	}
	shards, err := filepath.Glob(filepath.Join(dir, "conf.d", ".dyups.upstream.conf.shards", "*.conf"))
	if err != nil || len(shards) < 10 {
		t.Fatalf("the shards are %q, %v", shards, err)
	}
	for _, s := range shards {
		if err := os.Remove(s); err != nil {
			t.Fatal(err)
		}
	}
	for name, from := range ways {
		t.Run(name+" without them", func(t *testing.T) {
			is := found(t, from)
			if len(is) == 0 || slices.ContainsFunc(is, func(s string) bool {
				return !strings.HasPrefix(s, "conf-shards nginx can't read "+filepath.Dir(shards[0]))
			}) {
				t.Errorf("found %q", is)
			}
		})
	}
}
