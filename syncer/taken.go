package syncer

import (
	"slices"
	"strings"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// Taken is a name that nginx's own configuration uses for something else.
type Taken struct {
	// Reason says for what and where.
	Reason string
	// Fatal says that nginx does not load beside an upstream of that name: also one of ours goes.
	Fatal bool
	// Upstream says that it has an upstream of that name itself.
	Upstream bool
}

const localhost = "localhost is this machine's own name: what nginx sends there would go to the service"

// withoutTaken leaves out what has a name that nginx's configuration uses otherwise: a host that it
// proxies to, or an upstream. Of ours only that goes with which nginx does not load; for the rest nginx
// was configured with them. Before anything is written, what a gateway shows may be the upstream that
// another program left, which is taken over, unless nginx's configuration has it.
func (s *Syncer) withoutTaken(written upstream.Generation, seen upstream.Set) upstream.Set {
	var taken map[upstream.Key]Taken
	if s.Taken != nil {
		workers := make([][]gateway.Worker, len(s.deliveries))
		for i, d := range s.deliveries {
			workers[i] = d.workers()
		}
		taken = s.Taken(workers)
	}
	var names []string
	out := seen.Out()
	for u := range seen.All() {
		_, ours := written.Set.Get(u.Name)
		is, found := taken[upstream.KeyOf(u.Name)]
		switch {
		case upstream.SameName(u.Name, "localhost"):
			is = Taken{Reason: localhost}
		case !found, !is.Fatal && (ours || !is.Upstream && written.Number == 0 && s.shown(u.Name)):
			continue
		}
		names = append(names, u.Name)
		out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: is.Reason})
	}
	if names == nil {
		return seen
	}
	return upstream.NewSet(slices.Collect(seen.Without(names).All()), out...)
}

// shown reports whether a gateway showed an upstream of the name before anything was written.
func (s *Syncer) shown(name string) bool {
	return slices.ContainsFunc(s.deliveries, func(d *delivery) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		_, ok := d.first.Get(name)
		return ok
	})
}

// undotted leaves new names with a dot out, which may be names of hosts: for a registry that is not
// configured to have them.
func undotted(written, set upstream.Set) upstream.Set {
	var names []string
	out := set.Out()
	for u := range set.All() {
		if !strings.Contains(u.Name, ".") {
			continue
		}
		if _, ours := written.Get(u.Name); !ours {
			names = append(names, u.Name)
			out = append(out, upstream.Out{
				Service: u.Name, Upstream: u.Name,
				Reason: `its name has a dot and may be a host's: names = "dotted" in [[registry]] lets it in`,
			})
		}
	}
	if names == nil {
		return set
	}
	return upstream.NewSet(slices.Collect(set.Without(names).All()), out...)
}
