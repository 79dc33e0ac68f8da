package simulation

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// table is the upstreams that a worker has. It never changes: what is posted leads to another one, and the same post to
// the same. So two workers that were told the same have the same table, and what was found out about it holds for both.
type table struct {
	blocks map[string]block
	after  map[string]*table
	routed bool          // of a gateway that has routes
	live   *upstream.Set // in the product's words; nil until somebody asks
}

func newTable(blocks map[string]block, routed bool) *table {
	return &table{blocks: blocks, after: map[string]*table{}, routed: routed}
}

// with is the table after a post.
func (t *table) with(p post) *table {
	if p.shown(t) {
		return t
	}
	key := p.name + " " + p.to.full
	next := t.after[key]
	if next == nil {
		blocks := maps.Clone(t.blocks)
		if p.gone() {
			delete(blocks, p.name)
		} else {
			blocks[p.name] = p.to
		}
		next = newTable(blocks, t.routed)
		t.after[key] = next
	}
	return next
}

// set is the table in the product's words.
func (t *table) set() upstream.Set {
	if t.live == nil {
		list := make([]upstream.Upstream, 0, len(t.blocks))
		for name, b := range t.blocks {
			list = append(list, words(name, b, t.routed))
		}
		set := upstream.NewSet(list)
		t.live = &set
	}
	return *t.live
}

// agreed is what all tables have in the product's words. An upstream of which they have different ones is there without
// its servers.
func agreed(tables []*table) upstream.Set {
	first := tables[0]
	if !slices.ContainsFunc(tables, func(t *table) bool { return t != first }) {
		return first.set()
	}
	var list []upstream.Upstream
	seen := map[string]bool{}
	for _, t := range tables {
		for name, b := range t.blocks {
			if seen[name] {
				continue
			}
			seen[name] = true
			u := upstream.Upstream{Name: name}
			if !slices.ContainsFunc(tables, func(o *table) bool { return !(post{name, b}).shown(o) }) {
				u = words(name, b, first.routed)
			}
			list = append(list, u)
		}
	}
	return upstream.NewSet(list)
}

// words is a block in the product's words, and written the other way round.
func words(name string, b block, routed bool) upstream.Upstream {
	u := upstream.Upstream{Name: name}
	if routed {
		for _, r := range b.routes {
			u.Routes = append(u.Routes, inWords(r.words, name))
		}
		u.Routes = route.Canonical(u.Routes)
	}
	for option := range strings.SplitSeq(b.options, ";") {
		if n, is := strings.CutPrefix(option, "keepalive "); is {
			u.Options.Keepalive, _ = strconv.Atoi(n)
		} else {
			u.Options.Method += option
		}
	}
	for _, e := range b.servers {
		s := upstream.Server{Addr: netip.MustParseAddrPort(e.addr), Down: e.down}
		for word := range strings.FieldsSeq(e.rest) {
			key, value, _ := strings.Cut(word, "=")
			n, _ := strconv.Atoi(strings.TrimSuffix(value, "s"))
			switch key {
			case "weight":
				s.Weight = n
			case "max_fails":
				s.MaxFails = n
			case "fail_timeout":
				s.FailTimeout = time.Duration(n) * time.Second
			}
		}
		u.Servers = append(u.Servers, s)
	}
	return u
}

// inWords is a route in the product's words.
func inWords(words, upstream string) route.Route {
	r, err := route.ParseText(words, upstream)
	if err != nil {
		panic(err)
	}
	return r
}

func optionsText(o upstream.Options) (text string) {
	if o.Method != "" {
		text = o.Method + ";"
	}
	if o.Keepalive > 0 {
		text += fmt.Sprintf("keepalive %d;", o.Keepalive)
	}
	return text
}

func written(u upstream.Upstream) (b block) {
	b.options = optionsText(u.Options)
	for _, s := range u.Servers {
		e := entry{
			addr: s.Addr.String(), down: s.Down,
			rest: fmt.Sprintf("weight=%d max_fails=%d fail_timeout=%ds", s.Weight, s.MaxFails, int(s.FailTimeout.Seconds())),
		}
		if s.Down {
			e.rest += " down"
		}
		b.servers = append(b.servers, e)
	}
	for _, r := range u.Routes {
		r.Origin = ""
		b.routes = append(b.routes, said{words: r.Text()})
	}
	return b.sealed()
}
