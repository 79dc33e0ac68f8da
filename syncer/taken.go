package syncer

import (
	"slices"
	"strings"

	"swallowkeeper/gateway"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Taken is a name that nginx's own configuration already uses.
type Taken struct {
	// Reason is what it is used for, and where.
	Reason reason.Reason
	// Fatal means that nginx does not load with an upstream of that name, so even one of ours must go.
	Fatal bool
	// Upstream means that the configuration has an upstream of that name.
	Upstream bool
}

// taken returns the names that nginx's configuration currently uses.
func (s *Syncer) taken() map[upstream.Key]Taken {
	if s.parts.Taken == nil {
		return nil
	}
	workers := make([][]gateway.Worker, len(s.deliveries))
	for i, d := range s.deliveries {
		workers[i] = d.workers()
	}
	return s.parts.Taken(workers)
}

// isTaken returns why an upstream can't have its name because nginx's configuration uses it, for a host to proxy to
// or for an upstream. One of ours is removed only if nginx would not load with it; for the others nginx was
// configured that way. Before anything is written, an upstream that a gateway shows may have been left by another
// program; it is taken over unless nginx's configuration has it.
func (s *Syncer) isTaken(by screening, name string, ours bool) reason.Reason {
	is, found := by.taken[upstream.KeyOf(name)]
	switch {
	case upstream.SameName(name, "localhost"):
		return localhost.With()
	case !found, !is.Fatal && (ours || !is.Upstream && by.first && s.shown(name)):
		return reason.Reason{}
	}
	return is.Reason
}

// shown reports whether a gateway showed an upstream of that name before anything was written.
func (s *Syncer) shown(name string) bool {
	return slices.ContainsFunc(s.deliveries, func(d *delivery) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		_, ok := d.first.Get(name)
		return ok
	})
}

// undotted leaves out new names with a dot, which may be host names, for a registry that is not configured to have
// them.
func undotted(u, written upstream.Upstream) (upstream.Upstream, []upstream.Out) {
	if written.Name != "" || !strings.Contains(u.Name, ".") {
		return u, nil
	}
	return upstream.Upstream{}, []upstream.Out{{Service: u.Name, Upstream: u.Name, Reason: dotted.With()}}
}
