// Package doctor looks for the traps that people fall into. It knows those in nginx's configuration, and
// each kind of gateway and registry knows its own. The checks are pure, over
// facts that were gathered before; [ReadNginx] gathers nginx's part, and the command line
// asks the gateways and registries. It changes nothing.
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

// Finding is one trap, or one thing that could not be examined.
type Finding = finding.Finding

// Severity says how much a finding matters.
type Severity = finding.Severity

// The severities, the worst first.
const (
	Problem = finding.Problem
	Unknown = finding.Unknown
	Warning = finding.Warning
	Hint    = finding.Hint
)

// Facts are all that the checks look at.
type Facts struct {
	// Nginx is nginx's configuration, nil where it could not be read.
	Nginx *nginxtree.Tree
	// Elsewhere says that it may be another machine's or container's: its paths may
	// differ from ours.
	Elsewhere bool
	// ConfPath is persist.path.
	ConfPath string
	// Written is what the conf file holds, Wanted what the registries list now as well.
	Written, Wanted upstream.Set
	Gateways        []Gateway
	Registries      []Registry
}

// Gateway is what a gateway says of itself.
type Gateway struct {
	Name string
	// Err says why it could not be asked; of the rest, what is configured holds.
	Err error
	gateway.Examination
}

// Registry is how a registry can be read.
type Registry struct {
	Name string
	// Err says why it could not be read; the rest then means nothing.
	Err error
	registry.Examination
}

// Examine makes all checks, the worst finding first.
func Examine(f Facts) []Finding {
	r := &report{facts: f, conf: confFile{path: f.ConfPath, elsewhere: f.Elsewhere, tree: f.Nginx}}
	if f.Nginx != nil {
		r.api = findInterfaces(f.Nginx)
		r.checkBOM()
		r.checkIncluded()
		r.checkPasses()
		r.checkInterfaces()
		r.checkUpstreams()
		r.checkHosts()
		r.checkQueue()
		r.checkDict()
	}
	r.checkGateways()
	r.checkRegistries()
	return Sort(r.list)
}

// Sort puts the worst first, and else by place. Findings that say the same of several places
// become one.
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

// comparePlaces compares the lines of one file as numbers.
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

// report is one examination on its way.
type report struct {
	facts Facts
	conf  confFile
	api   []*api
	list  []Finding
}

func (r *report) add(f Finding) { r.list = append(r.list, f) }

// kept is the upstream of that name that swallowkeeper keeps. To nginx names that differ
// only in case are one.
func (r *report) kept(name string) (upstream.Upstream, bool) {
	for _, set := range []upstream.Set{r.facts.Written, r.facts.Wanted} {
		if u, is := set.Get(name); is {
			return u, true
		}
	}
	return upstream.Upstream{}, false
}
