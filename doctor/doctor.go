// Package doctor finds common problems. It knows those of nginx's configuration, and each kind of gateway and registry
// knows its own. The checks are pure functions of facts gathered before: [ReadNginx] gathers nginx's part, and the
// command line queries the gateways and registries. It changes nothing.
package doctor

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/gateway"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// Finding is a problem, or something that could not be examined.
type Finding = finding.Finding

// Severity ranks findings.
type Severity = finding.Severity

// Severities, worst first.
const (
	Problem = finding.Problem
	Unknown = finding.Unknown
	Warning = finding.Warning
	Hint    = finding.Hint
)

// Facts are the input of all checks.
type Facts struct {
	// Nginx is nginx's configuration, nil if it could not be read.
	Nginx *nginxtree.Tree
	// Elsewhere reports that it may come from another machine or container, so its paths may differ.
	Elsewhere bool
	// ConfPath is persist.path.
	ConfPath string
	// Written is the content of the conf file. Wanted is that and what the registries list now.
	Written, Wanted upstream.Set
	Gateways        []Gateway
	Registries      []Registry
}

// Gateway is the answer of a gateway.
type Gateway struct {
	Name string
	// Err is why it did not answer; the other fields are then as configured.
	Err error
	gateway.Examination
}

// Registry is the result of reading a registry.
type Registry struct {
	Name string
	// Err is why it could not be read; the other fields then mean nothing.
	Err error
	registry.Examination
}

// Examine runs all checks. It returns the findings, worst first.
func Examine(f Facts) []Finding {
	r := &report{facts: f, conf: confFile{path: f.ConfPath, elsewhere: f.Elsewhere, tree: f.Nginx}}
	if f.Nginx != nil {
		r.api = findInterfaces(f.Nginx)
		r.checkBOM()
		r.checkIncluded()
		r.checkShards()
		r.checkPasses()
		r.checkInterfaces()
		r.checkUpstreams()
		r.checkFolder()
		r.checkHosts()
		r.checkQueue()
		r.checkDict()
	}
	r.checkGateways()
	r.checkRegistries()
	return Sort(r.list)
}

// Sort orders findings by severity, worst first, then by place. It merges findings that say the same about several
// places.
func Sort(list []Finding) []Finding {
	slices.SortStableFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity.Rank(), b.Severity.Rank()),
			comparePlaces(a.Where, b.Where), cmp.Compare(a.Check, b.Check))
	})
	type text struct {
		check, what, why, now, change string
		severity                      Severity
	}
	first := map[text]int{}
	var sorted []Finding
	for _, f := range list {
		if len(f.Places) == 0 {
			f.Places = []string{f.Where}
		}
		said := text{f.Check, f.What, f.Why, f.Now, f.Change, f.Severity}
		i, again := first[said]
		if !again {
			first[said] = len(sorted)
			sorted = append(sorted, f)
			continue
		}
		for _, place := range f.Places {
			if !slices.Contains(sorted[i].Places, place) {
				sorted[i].Places = append(sorted[i].Places, place)
			}
		}
	}
	return sorted
}

// comparePlaces compares line numbers of one file numerically.
func comparePlaces(a, b string) int {
	cut := func(s string) (string, int) {
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			if n, err := strconv.Atoi(s[i+1:]); err == nil {
				return s[:i], n
			}
		}
		return s, 0
	}
	fileA, lineA := cut(a)
	fileB, lineB := cut(b)
	return cmp.Or(cmp.Compare(fileA, fileB), cmp.Compare(lineA, lineB))
}

// Failed reports whether there is a problem, or something that could not be examined.
func Failed(list []Finding) bool {
	return slices.ContainsFunc(list, func(f Finding) bool {
		return f.Severity == Problem || f.Severity == Unknown
	})
}

// report is an examination in progress.
type report struct {
	facts Facts
	conf  confFile
	api   []*api
	list  []Finding
}

func (r *report) add(f Finding) { r.list = append(r.list, f) }

// kept returns swallowkeeper's upstream of that name. Names that differ only in case are equal to nginx.
func (r *report) kept(name string) (upstream.Upstream, bool) {
	for _, set := range []upstream.Set{r.facts.Written, r.facts.Wanted} {
		if u, is := set.Get(name); is {
			return u, true
		}
	}
	return upstream.Upstream{}, false
}
