package consul

import (
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Noticed returns how a change of a service is noticed: by its own query, or by what replaces it if the agent allows
// too few connections.
func (r *Registry) Noticed(name string) reason.Reason {
	w := r.watch.Load()
	if w == nil {
		return reason.Reason{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.order {
		switch {
		case !upstream.SameName(s.name, name):
		case s.stop != nil:
			return noticedByQuery.With()
		case w.plan.way == byIndex:
			return noticedByIndex.With()
		case w.plan.way == byNode:
			return noticedByNode.With(w.room.watches, len(w.services))
		default:
			return noticedBySearch.With(w.room.watches, len(w.services))
		}
	}
	return reason.Reason{}
}
