package wiring

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/dyups"
	"swallowkeeper/gateway"
	"swallowkeeper/reason"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// TestWhichConfigurationCounts: what nginx was started with, as soon as a worker leads to it; what is
// configured alone; and neither twice.
func TestWhichConfigurationCounts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := file("own.conf", "upstream web { server 127.0.0.1:1; }\n")
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	one := file("one.conf", "http { upstream one { server 127.0.0.1:1; } include link/own.conf; }")
	two := file("two.conf", "http { upstream two { server 127.0.0.1:1; } }")
	fixed := file("fixed.conf", "http { upstream fixed { server 127.0.0.1:1; } }")
	leads := map[int]string{11: one, 12: one, 21: two, 31: filepath.Join(dir, "missing.conf")}

	var workers []gateway.Worker
	log, said := test.NewNullLogger()
	start := func(conf string) *taken {
		cfg := dyups.DefaultConfig()
		cfg.NginxConf = conf
		k := newTaken(own, []Target{{Target: syncer.Target{Gateway: dyups.New(cfg, log)}}}, log)
		for _, c := range k.confs {
			c.find = func(pid int) (string, error) {
				if f := leads[pid]; f != "" {
					return f, nil
				}
				return "", errors.New("no worker of an nginx here")
			}
		}
		return k
	}
	now := func(k *taken) map[upstream.Key]syncer.Taken { return k.now([][]gateway.Worker{workers}) }
	k := start(gateway.FindNginxConf)
	for _, step := range []struct {
		name, pids, path, names string
	}{
		{"nobody was asked", "", gateway.DefaultNginxConf, "?"},
		{"the workers are known", "11 12", one, "one"},
		{"another nginx", "21 22", two, "two"},
		{"one worker leads to it", "13 12", one, "one"},
		{"nginx is away", "", one, "one"},
		{"numbers of another machine", "4 5", one, "one"},
		{"what is no number", "../1 -11 x", one, "one"},
		{"a file that can't be read", "31", filepath.Join(dir, "missing.conf"), ""},
	} {
		workers = nil
		for _, id := range strings.Fields(step.pids) {
			workers = append(workers, gateway.Worker{ID: id})
		}
		names := takenNames(now(k))
		if got := k.confs[0].path(); got != step.path || step.names != "?" && names != step.names {
			t.Errorf("%s: %s with %q, want %s with %q", step.name, got, names, step.path, step.names)
		}
	}
	if last := said.LastEntry(); last == nil || !strings.Contains(last.Message, "can't be read") {
		t.Errorf("the log ends with %v", last)
	}

	for conf, want := range map[string]string{fixed: "fixed", "": ""} {
		workers = []gateway.Worker{{ID: "11"}}
		if got := takenNames(now(start(conf))); got != want {
			t.Errorf("with nginx_conf = %q: %q", conf, got)
		}
	}

	// A worker that leads nowhere yet is tried again.
	k, workers = start(gateway.FindNginxConf), []gateway.Worker{{ID: "41"}}
	now(k)
	leads[41] = two
	k.looked = time.Now().Add(-takenGood)
	if got := fmt.Sprint(slices.Sorted(maps.Keys(now(k)))); got != "[two]" {
		t.Errorf("tried again: %s", got)
	}
}

// TestWhatAGatewayWritesIsOurs: nginx includes it, and no name in it is somebody else's.
func TestWhatAGatewayWritesIsOurs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nginx.conf":                           "http { include gen/current/*.conf; upstream own { server 127.0.0.1:1; } }",
		"gen/generation-1/web.upstream.conf":   "upstream web { server 127.0.0.1:1; }",
		"gen/generation-1/web.location.conf":   "server { location / { proxy_pass http://web; } }",
		"gen/generation-1/other.upstream.conf": "upstream other { server 127.0.0.1:1; }",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("generation-1", filepath.Join(dir, "gen", "current")); err != nil {
		t.Fatal(err)
	}
	log, _ := test.NewNullLogger()
	for folder, want := range map[string]string{filepath.Join(dir, "gen"): "own", "": "other own web"} {
		g := folderGateway{folder: folder, conf: filepath.Join(dir, "nginx.conf")}
		k := newTaken(filepath.Join(dir, "u.conf"), []Target{{Target: syncer.Target{Gateway: g}}}, log)
		if got := takenNames(k.now(make([][]gateway.Worker, 1))); got != want {
			t.Errorf("with folder %q: %q, want %q", folder, got, want)
		}
	}
}

// folderGateway is one that writes files which nginx includes.
type folderGateway struct {
	gateway.Gateway
	folder, conf string
}

func (g folderGateway) Abilities() gateway.Abilities {
	return gateway.Abilities{Folder: g.folder, NginxConf: g.conf}
}

func TestWhatForbidsMostCounts(t *testing.T) {
	host, own, fatal := syncer.Taken{Reason: reason.Text("host")}, syncer.Taken{Upstream: true}, syncer.Taken{Fatal: true}
	for _, c := range []struct{ first, then, want syncer.Taken }{
		{host, own, own}, {own, host, own}, {own, fatal, fatal}, {fatal, own, fatal}, {fatal, host, fatal}, {host, fatal, fatal},
	} {
		names := map[upstream.Key]syncer.Taken{}
		take(names, "x", c.first)
		if take(names, "x", c.then); names["x"] != c.want {
			t.Errorf("%+v, then %+v: %+v", c.first, c.then, names["x"])
		}
	}
}

func takenNames(taken map[upstream.Key]syncer.Taken) string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(taken)) {
		names = append(names, string(key))
	}
	return strings.Join(names, " ")
}
