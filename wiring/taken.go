package wiring

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// takenGood is how long the names from nginx's configuration are cached.
const takenGood = 10 * time.Second

// taken keeps the names that each gateway's nginx.conf uses. Only the syncer's loop calls it.
type taken struct {
	confs []*nginxConf
	ours  string   // the conf file
	dirs  []string // to which gateways write files
	log   logrus.FieldLogger

	is     map[upstream.Key]syncer.Taken
	last   map[string]map[upstream.Key]syncer.Taken // by file
	looked time.Time
	told   map[string]bool // files that can't be read and were logged
}

// nginxConf is the nginx.conf of one gateway.
type nginxConf struct {
	target int    // index of the gateway
	file   string // as configured; "auto" for the one that nginx was started with
	find   func(worker int) (string, error)

	pids  []int
	found string // "" until found
}

func newTaken(ours string, targets []Target, log logrus.FieldLogger) *taken {
	t := &taken{ours: ours, log: log, last: map[string]map[upstream.Key]syncer.Taken{}, told: map[string]bool{}}
	for i, target := range targets {
		a := target.Gateway.Abilities()
		if a.Folder != "" {
			t.dirs = append(t.dirs, a.Folder)
		}
		if file := a.NginxConf; file != "" {
			t.confs = append(t.confs, &nginxConf{target: i, file: file, find: nginxproc.System().Conf})
		}
	}
	return t
}

// isOurs reports whether a file is the conf file, or written by a gateway. It resolves the path each time, as the file
// may not exist at first.
func (t *taken) isOurs(file string) bool {
	target := realPath(file)
	return target == realPath(t.ours) || slices.ContainsFunc(t.dirs, func(dir string) bool {
		return strings.HasPrefix(target, realPath(dir)+"/")
	})
}

func realPath(file string) string {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		return target
	}
	return filepath.Clean(file)
}

// now returns the current names. A file that can't be read keeps its last known names.
func (t *taken) now(workers [][]gateway.Worker) map[upstream.Key]syncer.Taken {
	due := t.looked.IsZero() || time.Since(t.looked) >= takenGood
	for _, c := range t.confs {
		if c.look(workers[c.target], due, t.log) {
			due = true // the workers changed: a decision does not wait for the cache to expire
		}
	}
	if !due {
		return t.is
	}
	var files []string
	for _, c := range t.confs {
		if f := c.path(); f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	all := map[upstream.Key]syncer.Taken{}
	for _, file := range files {
		tree, err := nginxtree.ReadDiskBut(file, t.isOurs)
		if err == nil {
			t.last[file] = namesOf(tree)
		} else if !t.told[file] && file != gateway.DefaultNginxConf {
			t.log.WithError(err).WithField("file", file).
				Warn("nginx's configuration can't be read: names that it uses for hosts are not known")
		}
		t.told[file] = err != nil
		for name, is := range t.last[file] {
			take(all, name, is)
		}
	}
	t.is, t.looked = all, time.Now()
	return t.is
}

// path returns where the nginx.conf is, as far as known.
func (c *nginxConf) path() string {
	if c.file != gateway.FindNginxConf {
		return c.file
	}
	return cmp.Or(c.found, gateway.DefaultNginxConf)
}

// look searches for the nginx.conf if the workers changed, or if it is due and was not found. It reports whether the
// workers changed. What was found stays while nginx is down.
func (c *nginxConf) look(workers []gateway.Worker, due bool, log logrus.FieldLogger) bool {
	if c.file != gateway.FindNginxConf {
		return false
	}
	var pids []int
	for _, w := range workers {
		if pid, err := strconv.Atoi(w.ID); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	others := !slices.Equal(pids, c.pids)
	if !others && !due {
		return false
	}
	c.pids = pids
	for _, pid := range pids {
		file, err := c.find(pid)
		if err != nil {
			log.WithError(err).Debug("nginx's configuration is not found by its worker")
			continue
		}
		if file != c.found {
			log.WithField("file", file).Info("nginx's configuration is found: no service takes a name that it uses")
		}
		c.found = file
		break
	}
	return others
}

func namesOf(tree *nginxtree.Tree) map[upstream.Key]syncer.Taken {
	names := map[upstream.Key]syncer.Taken{}
	for _, h := range tree.Hosts() {
		is := syncer.Taken{Reason: nginxProxies.With(h.At.Where())}
		if h.Port {
			is = syncer.Taken{Fatal: true, Reason: nginxPort.With(h.At.Where())}
		}
		take(names, upstream.KeyOf(h.Name), is)
	}
	tree.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "upstream" || len(d.Args) != 2 || !slices.Equal(d.Path(), []string{"http"}) {
			return
		}
		take(names, upstream.KeyOf(d.Args[1]), syncer.Taken{Upstream: true, Reason: nginxHas.With(d.Where())})
	})
	return names
}

// take records the use of a name. The strictest use wins.
func take(names map[upstream.Key]syncer.Taken, name upstream.Key, is syncer.Taken) {
	if has := names[name]; !has.Fatal && (is.Fatal || is.Upstream || !has.Upstream) {
		names[name] = is
	}
}
