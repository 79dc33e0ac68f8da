package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// mark begins the conf file that swallowkeeper writes.
const mark = "# Written by swallowkeeper"

// confFile tells which of nginx's files is the one that swallowkeeper writes.
type confFile struct {
	path      string
	elsewhere bool
	tree      *nginxtree.Tree
}

// is reports whether a file of nginx's is the conf file. Read elsewhere it may be mounted
// under another path, so there what it says counts too.
func (c confFile) is(file string) bool {
	if filepath.Clean(file) == filepath.Clean(c.path) {
		return true
	}
	if c.elsewhere {
		return strings.HasPrefix(c.tree.First[file], mark)
	}
	return resolved(file) == resolved(c.path)
}

// resolved follows links, also to a file that is not there yet.
func resolved(file string) string {
	if target, err := filepath.EvalSymlinks(file); err == nil {
		return target
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(file)); err == nil {
		return filepath.Join(dir, filepath.Base(file))
	}
	return file
}

func inHTTP(d *nginxtree.Directive) bool { return slices.Equal(d.Path(), []string{"http"}) }

// checkBOM names the files that nginx refuses for what an editor put before the first word.
func (r *report) checkBOM() {
	for _, file := range r.facts.Nginx.BOM {
		r.add(Finding{
			Check: "nginx-refuses", Severity: Problem, Where: file + ":1",
			What: "The file begins with a byte order mark (EF BB BF), which an editor put there",
			Why: "nginx takes the mark for a part of the first word and says: unknown directive. " +
				"A reload fails, and after a restart or reboot there is no nginx.",
			Change: "sed -i '1s/^\\xEF\\xBB\\xBF//' " + file,
		})
	}
}

// checkIncluded looks whether nginx reads the conf file, once and at the right place.
func (r *report) checkIncluded() {
	var here, wrong []*nginxtree.Directive
	for _, i := range r.facts.Nginx.Includes {
		reads := slices.ContainsFunc(i.Files, r.conf.is) || nginxtree.Matches(i.Pattern, r.facts.ConfPath) ||
			!r.facts.Elsewhere && nginxtree.Matches(i.Pattern, resolved(r.facts.ConfPath))
		switch {
		case !reads:
		case inHTTP(i.At):
			here = append(here, i.At)
			r.checkExact(i)
		default:
			wrong = append(wrong, i.At)
		}
	}
	line := "include " + filepath.Join(filepath.Dir(r.facts.ConfPath), "*.conf") + ";"
	if filepath.Ext(r.facts.ConfPath) != ".conf" {
		line = "include " + r.facts.ConfPath + "*;"
	}
	for _, d := range wrong {
		r.add(Finding{
			Check: "conf-included", Severity: Problem, Where: d.Where(), Now: d.String(),
			What: "The conf file " + r.facts.ConfPath + " is included within " +
				strings.Join(d.Path(), " > ") + ", not in http",
			Why: "Upstreams belong into http: anywhere else nginx refuses them or its requests " +
				"do not find them.",
			Change: line,
		})
	}
	if r.lua() && !r.facts.Elsewhere && len(here) == 1 && len(wrong) == 0 {
		r.includedBesideLua(here[0], line)
		return
	}
	switch {
	case len(here) > 1:
		r.add(Finding{
			Check: "conf-included", Severity: Problem, Where: here[1].Where(), Now: here[1].String(),
			What: "The conf file " + r.facts.ConfPath + " is included a second time, " +
				"first at " + here[0].Where(),
			Why:    "nginx refuses an upstream that it finds twice, so its next reload or start fails.",
			Change: "Take this line out.",
		})
	case len(here) == 0 && len(wrong) == 0 && !r.readByLua():
		r.notIncluded(line)
	}
}

// includedBesideLua is for the API in Lua, which reads the conf file by itself: what nginx includes is of no
// use to it.
func (r *report) includedBesideLua(at *nginxtree.Directive, line string) {
	if !r.readByLua() {
		r.notIncluded(line)
	}
	r.add(Finding{
		Check: "conf-included", Severity: Warning, Where: at.Where(), Now: at.String(),
		What: "nginx includes the conf file " + r.facts.ConfPath + ", which the API in Lua reads by itself",
		Why: "Nothing needs it there, and nginx does not start where it finds an upstream of the file a second " +
			"time in its configuration.",
		Change: "Take it out of what nginx includes: path = \"/var/lib/swallowkeeper/dyups.upstream.conf\" in " +
			"[persist], and nginx install-lua --upstreams with the same path",
	})
}

// checkExact warns of an include that stops nginx from loading before the first write.
func (r *report) checkExact(i nginxtree.Include) {
	if nginxtree.IsPattern(i.Pattern) || len(i.Files) > 0 {
		return
	}
	r.add(Finding{
		Check: "conf-exact", Severity: Problem, Where: i.At.Where(), Now: i.At.String(),
		What:   "The conf file is included by its exact name and is not there yet",
		Why:    "nginx does not load while a file is missing that is included without a pattern.",
		Change: "include " + strings.TrimSuffix(i.Pattern, ".conf") + "*.conf;",
	})
}

// readByLua reports whether the API in Lua reads the conf file itself.
func (r *report) readByLua() bool {
	found := false
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		found = found || d.Lua != "" && strings.Contains(d.Lua, r.facts.ConfPath)
	})
	return found
}

func (r *report) notIncluded(line string) {
	f := Finding{
		Check: "conf-included", Severity: Problem, Where: r.facts.Nginx.Main,
		What: "nginx does not read the conf file " + r.facts.ConfPath,
		Why: "What is pushed is in memory alone: after a reload or a restart nginx has none of the " +
			"upstreams, " +
			"and requests fail until they are pushed again.",
		Change: line + "   # in http { }",
	}
	if r.facts.Elsewhere {
		f.Why += " In another container the path may be another: include it as nginx sees it."
	}
	if r.lua() {
		f.Change = fmt.Sprintf("swallowkeeper nginx install-lua --upstreams %s", r.facts.ConfPath)
	}
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		switch {
		case d.Name() == "http" && d.Parent == nil && !r.lua(), strings.Contains(d.Lua, "dyups.state"):
			f.Where = d.Where()
		case d.Name() == "dyups_upstream_conf":
			f.Why += " dyups_upstream_conf (" + d.Where() + ") has no effect any more."
		}
	})
	r.add(f)
}
