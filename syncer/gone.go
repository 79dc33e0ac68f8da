package syncer

import (
	"slices"

	"swallowkeeper/upstream"
)

// mostGone is how many names of removed upstreams a delivery remembers. A name matters until nginx has read its
// configuration again, which can't be observed. Services with a date or a commit in their names would otherwise pile
// up for ever.
const mostGone = 4096

// gone is the set of upstreams that a gateway has most recently confirmed to be without.
type gone struct {
	names names
	order []upstream.Key // the keys of names, oldest first
	// wanted is what was wanted at the last call of forget.
	wanted upstream.Set
}

// add adds upstreams that the gateway no longer has.
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

// forget removes names that are wanted again.
func (g *gone) forget(wanted upstream.Set) {
	before := len(g.names)
	for was, is := range upstream.Changed(g.wanted, wanted) {
		if was.Name == "" {
			delete(g.names, upstream.KeyOf(is.Name))
		}
	}
	g.wanted = wanted
	if len(g.names) < before {
		g.tidy()
	}
}

// adopt removes names that the gateway may have again although they were not wanted here.
func (g *gone) adopt(orphans []string) {
	for _, name := range orphans {
		delete(g.names, upstream.KeyOf(name))
	}
	if len(orphans) > 0 {
		g.tidy()
	}
}

func (g *gone) tidy() {
	g.order = slices.DeleteFunc(g.order, func(key upstream.Key) bool { return !g.names[key] })
}
