package syncer

import (
	"maps"
	"slices"

	"swallowkeeper/upstream"
)

// mostGone is how many names of removed upstreams a delivery remembers. They count until nginx has read
// its configuration again, which nothing shows; services whose names have a date or a commit in them come
// and go for ever.
const mostGone = 4096

// gone is the upstreams that a gateway has confirmed to be without, those that went last.
type gone struct {
	names names
	order []upstream.Key // those of names, the one that went first in front
}

// add takes in what a gateway is without now.
func (g *gone) add(list []upstream.Upstream) {
	for _, u := range list {
		key := upstream.KeyOf(u.Name)
		if g.names[key] {
			g.order = slices.DeleteFunc(g.order, func(o upstream.Key) bool { return o == key })
		}
		g.names[key] = true
		g.order = append(g.order, key)
	}
	over := max(0, len(g.order)-mostGone)
	for _, key := range g.order[:over] {
		delete(g.names, key)
	}
	g.order = slices.Delete(g.order, 0, over)
}

// forget takes out what is wanted again.
func (g *gone) forget(wanted upstream.Set) {
	before := len(g.names)
	maps.DeleteFunc(g.names, func(key upstream.Key, _ bool) bool {
		_, is := wanted.Get(string(key))
		return is
	})
	if len(g.names) < before {
		g.order = slices.DeleteFunc(g.order, func(key upstream.Key) bool { return !g.names[key] })
	}
}
