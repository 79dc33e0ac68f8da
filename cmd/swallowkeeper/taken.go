package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/dyups"
	"swallowkeeper/syncer"
)

// takenGood is how long what nginx's configuration says is good.
const takenGood = 10 * time.Second

// taken keeps the names that the nginx.conf of each gateway uses. Only the syncer's loop asks it.
type taken struct {
	files []string
	ours  func(file string) bool
	log   logrus.FieldLogger

	is     map[string]syncer.Taken
	last   map[string]map[string]syncer.Taken // by file
	looked time.Time
	told   map[string]bool // files that can't be read
}

func newTaken(cfg config.Config, log logrus.FieldLogger) *taken {
	t := &taken{log: log, last: map[string]map[string]syncer.Taken{}, told: map[string]bool{}}
	for _, g := range cfg.Gateways {
		if f := g.Dyups.NginxConf; f != "" && !slices.Contains(t.files, f) {
			t.files = append(t.files, f)
		}
	}
	own := realPath(cfg.Persist.Path)
	t.ours = func(file string) bool { return realPath(file) == own }
	return t
}

func realPath(file string) string {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		return target
	}
	return filepath.Clean(file)
}

// now is what holds at this moment. What can't be read stays as it was read last.
func (t *taken) now() map[string]syncer.Taken {
	if !t.looked.IsZero() && time.Since(t.looked) < takenGood {
		return t.is
	}
	all := map[string]syncer.Taken{}
	for _, file := range t.files {
		tree, err := nginxtree.ReadDiskBut(file, t.ours)
		if err == nil {
			t.last[file] = namesOf(tree)
		} else if !t.told[file] && file != dyups.DefaultNginxConf {
			t.log.WithError(err).WithField("file", file).
				Warn("nginx's configuration can't be read: names that it uses for hosts are not known")
		}
		t.told[file] = err != nil
		for name, is := range t.last[file] {
			if !all[name].Fatal {
				all[name] = is
			}
		}
	}
	t.is, t.looked = all, time.Now()
	return t.is
}

func namesOf(tree *nginxtree.Tree) map[string]syncer.Taken {
	names := map[string]syncer.Taken{}
	for _, h := range tree.Hosts() {
		is := syncer.Taken{Reason: fmt.Sprintf("nginx proxies to a host of this name (%s): the service would take that over", h.At.Where())}
		if h.Port {
			is = syncer.Taken{Fatal: true, Reason: fmt.Sprintf(
				"nginx proxies to a host and port of this name (%s): beside an upstream of it nginx does not load", h.At.Where())}
		}
		if !names[h.Name].Fatal {
			names[h.Name] = is
		}
	}
	tree.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "upstream" || len(d.Args) != 2 || !slices.Equal(d.Path(), []string{"http"}) {
			return
		}
		if name := strings.ToLower(d.Args[1]); !names[name].Fatal {
			names[name] = syncer.Taken{Reason: fmt.Sprintf("nginx's configuration has an upstream of this name (%s)", d.Where())}
		}
	})
	return names
}
