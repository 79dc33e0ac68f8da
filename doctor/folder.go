package doctor

import (
	"fmt"
	"path/filepath"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/upstream"
)

// folder returns where a gateway writes files for nginx to include, or "".
func (r *report) folder() string {
	for _, g := range r.facts.Gateways {
		if g.Folder != "" {
			return g.Folder
		}
	}
	return ""
}

// reloaded reports whether nginx is only updated by reloads. It then needs no conf file, and hosts resolved at load
// time are never stale.
func (r *report) reloaded() bool { return r.folder() != "" && r.told() == nil }

// rendered reports whether a gateway wrote the file.
func (r *report) rendered(file string) bool {
	for _, g := range r.facts.Gateways {
		if g.Folder != "" && (within(file, g.Folder) || !r.facts.Elsewhere && within(resolved(file), resolved(g.Folder))) {
			return true
		}
	}
	return false
}

func within(file, folder string) bool {
	return strings.HasPrefix(filepath.Clean(file), filepath.Clean(folder)+"/")
}

// checkFolder checks an nginx that is updated by reloads.
func (r *report) checkFolder() {
	if r.folder() == "" {
		return
	}
	r.checkTwice()
	timeout := false
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		timeout = timeout || d.Name() == "worker_shutdown_timeout" && d.Parent == nil
	})
	if !timeout {
		r.add(Finding{
			Check: "shutdown-timeout", Severity: Warning, Where: r.facts.Nginx.Main,
			What: "nginx has no worker_shutdown_timeout, and swallowkeeper reloads it",
			Why: "Each reload leaves an old worker until its last request ends: a WebSocket or a long download keeps it for " +
				"hours, with all its memory. Above max_old_workers nothing is reloaded any more.",
			Change: "worker_shutdown_timeout 5m;   # at the top of nginx.conf; it ends what is still open then",
		})
	}
}

// checkTwice reports upstreams that are both in the conf file and in a gateway's folder.
func (r *report) checkTwice() {
	first := map[upstream.Key]*nginxtree.Directive{}
	told := false
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "upstream" || len(d.Args) != 2 || !inHTTP(d) || !r.conf.is(d.File) && !r.rendered(d.File) {
			return
		}
		key := upstream.KeyOf(d.Args[1])
		at := first[key]
		if at == nil {
			first[key] = d
			return
		}
		if told || r.conf.is(at.File) == r.conf.is(d.File) {
			return
		}
		told = true
		r.add(Finding{
			Check: "included-twice", Severity: Problem, Where: d.Where(), Now: d.String(),
			What: fmt.Sprintf("nginx includes upstream %s twice: at %s too", finding.Show(d.Args[1]), at.Where()),
			Why: "The conf file and the folder of a gateway both have every upstream, and nginx refuses one that it finds " +
				"twice: no reload succeeds, and after a restart there is no nginx.",
			Change: fmt.Sprintf("Include %s/current/*.upstream.conf alone, and leave %s out", r.folder(), r.facts.ConfPath),
		})
	})
}
