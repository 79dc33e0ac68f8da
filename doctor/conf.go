package doctor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// mark is the beginning of a conf file written by swallowkeeper.
const mark = "# Written by swallowkeeper"

// confFile identifies swallowkeeper's conf file among nginx's files.
type confFile struct {
	path      string
	elsewhere bool
	tree      *nginxtree.Tree
}

// is reports whether a file is the conf file or one of its shards.
func (c confFile) is(file string) bool { return c.itself(file) || c.shard(file) }

// shard reports whether a file is in the folder of shards beside a conf file of this name.
func (c confFile) shard(file string) bool {
	return filepath.Base(filepath.Dir(file)) == "."+filepath.Base(resolved(c.path))+".shards"
}

// itself reports whether a file is the conf file. On another machine it may be mounted under another path, so its
// content counts too.
func (c confFile) itself(file string) bool {
	if filepath.Clean(file) == filepath.Clean(c.path) {
		return true
	}
	if c.elsewhere {
		return strings.HasPrefix(c.tree.First[file], mark)
	}
	return resolved(file) == resolved(c.path)
}

// resolved follows links, even to a file that does not exist yet.
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

// checkBOM reports files that nginx refuses because of a byte order mark.
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

// checkIncluded checks that nginx includes the conf file, once and in the right place.
func (r *report) checkIncluded() {
	var here, wrong []*nginxtree.Directive
	for _, i := range r.facts.Nginx.Includes {
		reads := slices.ContainsFunc(i.Files, r.conf.itself) || nginxtree.Matches(i.Pattern, r.facts.ConfPath) ||
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
	case len(here) == 0 && len(wrong) == 0 && !r.readByLua() && !r.reloaded():
		r.notIncluded(line)
	}
}

// checkShards checks that nginx finds the shards included by the conf file.
func (r *report) checkShards() {
	var missing []*nginxtree.Directive
	for _, i := range r.facts.Nginx.Includes {
		if len(i.Files) == 0 && r.conf.itself(i.At.File) && r.conf.shard(i.Pattern) {
			missing = append(missing, i.At)
		}
	}
	if len(missing) > 0 {
		f := noShards(missing[0].Args[1])
		f.Where, f.Now = missing[0].Where(), missing[0].String()
		r.add(f)
	}
}

// noShards returns the finding for a shard that nginx can't read.
func noShards(file string) Finding {
	return Finding{
		Check: "conf-shards", Severity: Problem,
		What: "nginx can't read " + file + ", a shard that the conf file includes",
		Why: "A large conf file includes its upstreams from the folder beside it. A reload fails where nginx does not " +
			"find it there, and after a restart or reboot there is no nginx.",
		Change: `Let nginx read the folder; where it sees it under another path: include_as = "FOLDER OF THE CONF FILE AS NGINX SEES IT" ` +
			`in [persist]; or shard_above = "0"`,
	}
}

// includedBesideLua reports an include that is useless because the Lua API reads the conf file itself.
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

// checkExact warns about an include that prevents nginx from starting before the first write.
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

// readByLua reports whether the Lua API reads the conf file itself.
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
