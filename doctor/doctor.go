// Package doctor looks for the traps that people fall into: in nginx's configuration, in
// what the gateways answer and in how the registries can be read. The checks are pure, over
// facts that were gathered before; [ReadNginx] gathers nginx's part, and the command line
// asks the gateways and registries. It changes nothing.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/upstream"
)

// Severity says how much a finding matters.
type Severity string

// The severities, the worst first.
const (
	// Problem is what does not work, or lets others in.
	Problem Severity = "problem"
	// Unknown is what could not be examined: nothing is known about it.
	Unknown Severity = "not examined"
	// Warning is what works until something goes wrong, or worse than it could.
	Warning Severity = "warning"
	// Hint is what could be better.
	Hint Severity = "hint"
)

func (s Severity) rank() int {
	return slices.Index([]Severity{Problem, Unknown, Warning, Hint}, s)
}

// Finding is one trap, or one thing that could not be examined. Its texts may quote what
// nginx's configuration and the registries hold.
type Finding struct {
	// Check is the name of the check, as docs/doctor.md lists it.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// What is there.
	What string `json:"what"`
	// Where it is: file:line, or the name of a registry or gateway. Places lists all of
	// them where the same is found at several; Where is the first.
	Where  string   `json:"where"`
	Places []string `json:"places"`
	// Why it hurts.
	Why string `json:"why"`
	// Now is the line as it stands, "" where there is none yet.
	Now string `json:"now,omitempty"`
	// Change is what to write in its place, or to add or do.
	Change string `json:"change,omitempty"`
}

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

// Gateway is what is configured about a gateway and what it answered.
type Gateway struct {
	Name, Address  string
	QueueBytes     int
	ReadMsgTimeout time.Duration

	// Err says why it could not be asked; the rest then means nothing.
	Err error
	// Worker says that its answers name the worker that they come from.
	Worker bool
	// StaticUnknown says that it can't tell which names nginx's own configuration has.
	StaticUnknown bool
	// Live is the names of its upstreams.
	Live []string
	// Ahead is how far its clock is before ours, to a second.
	Ahead time.Duration
}

// Registry is how a registry can be read.
type Registry struct {
	Name string
	// Err says why it could not be read; the rest then means nothing.
	Err error
	// Cut says why its lists can't be taken for whole, nil where they can.
	Cut error
	// Services is how many are wanted of it, and Unwatched how many of them have no query of
	// their own, because it takes no more than Connections at once from here. Enough is
	// how many it would have to take. Guessed says that it does not tell.
	Services, Unwatched, Connections, Enough int
	Guessed                                  bool
	// Asked is the configured number of connections, 0 for none.
	Asked int
	// Unchecked are the instances without a check of their own.
	Unchecked []Instance
	// Ahead is how far its clock is before ours, to a second.
	Ahead time.Duration
}

// Instance is one of a service. All its texts are the registry's.
type Instance struct{ Service, ID, Node, Addr string }

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
		return cmp.Or(cmp.Compare(a.Severity.rank(), b.Severity.rank()),
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
		for u := range set.All() {
			if upstream.SameName(u.Name, name) {
				return u, true
			}
		}
	}
	return upstream.Upstream{}, false
}

// quote shows foreign text: quoted, and cut where it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}

// show leaves plain names as they are.
func show(s string) string {
	if upstream.ValidName(s) == nil {
		return s
	}
	return quote(s)
}

// many is a number with its word.
func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
