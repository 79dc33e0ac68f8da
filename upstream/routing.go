package upstream

import (
	"cmp"
	"maps"
	"slices"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/reason"
	"swallowkeeper/route"
)

// InstanceRoutes is what one instance of a service registers about its routes.
type InstanceRoutes struct {
	Addr, Instance, Node string // as in [Out]
	Routes               []route.Route
	Bad                  []route.Bad
}

// RoutesOf elects the routes of an upstream from what its instances register, and returns notes for those that are
// out. See [route.Elect].
func RoutesOf(service, name string, all []InstanceRoutes) ([]route.Route, []Out) {
	var out []Out
	claims := make([][]route.Route, len(all))
	for i, inst := range all {
		claims[i] = route.Canonical(inst.Routes)
		for _, b := range inst.Bad {
			out = append(out, inst.out(service, name, b.Text, reason.Of(b.Err)))
		}
	}
	won, lost := route.Elect(claims)
	for _, i := range lost {
		for _, r := range claims[i] {
			if !slices.ContainsFunc(won, r.Same) {
				out = append(out, all[i].out(service, name, r.Where(), outvoted.With()))
			}
		}
	}
	return won, out
}

func (s InstanceRoutes) out(service, name, text string, why reason.Reason) Out {
	return Out{Service: service, Upstream: name, Addr: s.Addr, Instance: s.Instance, Node: s.Node, Route: cut(text), Reason: why}
}

// cut truncates text from a registration, which is only displayed.
func cut(text string) string {
	const most = 100
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// Router resolves conflicts between routes for a sequence of sets. Its cost depends on what changed. In the result
// each request matches at most one route, and each upstream that a route uses for authorization exists.
//
//	written    wanted                      kept
//	a: /x      a: /x, b: /x                a: /x    whoever has it keeps it
//	-          a: /x, b: /x                a: /x    the first by name
//	a: /x      a: /x, [[route]] b: /x      b: /x    the configuration goes over registrations
//	a: /x      a: /x and /y by a tie       a: /x
//
// The same rules apply if two routes overlap and neither is more specific: see [route.Route.Ambiguous].
//
// An upstream stays, even if it loses all its routes. The zero value is ready to use.
type Router struct {
	configured        []route.Belonging
	from, written, to Set
	notes             Outs
	wants             map[Key]wish
	claims            map[string]map[Key]string // by arena: the upstreams with a route in it
	authUsers         map[Key]map[Key]string    // by authorization upstream: the upstreams whose routes use it
	owners            map[string][]rival        // by arena: the winners, computed once per Apply
	altered           map[Key]alteration        // the upstreams whose routes differ from what was wanted
}

// wish is the set of routes that an upstream would have if no other upstream wanted the same requests.
type wish struct {
	name   string
	routes []candidate
	out    []Out
}

// rival is a candidate together with its upstream.
type rival struct {
	candidate
	key Key
}

type candidate struct {
	route.Route
	arena, claim string
	pattern      route.Pattern
	configured   bool
	written      bool
}

// excludes reports whether at most one of the two can be kept. Both must be of one arena.
func (c candidate) excludes(o candidate) bool {
	if c.claim == o.claim {
		return c.Clash(o.Route)
	}
	return c.pattern.Ambiguous(o.pattern) && c.Ambiguous(o.Route)
}

// Apply resolves the routes of a set. It returns notes for those that are out; the notes are not added to the set.
// configured are the routes of the configuration, each with its upstream.
func (r *Router) Apply(from, written Set, configured []route.Belonging) (Set, Outs) {
	if from.routes+written.routes+len(configured) == 0 {
		*r = Router{}
		return from, Outs{}
	}
	changed := names{}
	if r.wants == nil || !sameConfigured(r.configured, configured) {
		*r = Router{configured: configured, wants: map[Key]wish{}, claims: map[string]map[Key]string{}, authUsers: map[Key]map[Key]string{}, altered: map[Key]alteration{}}
		for _, c := range configured {
			changed.add(c.Upstream)
		}
	}
	changed.between(r.from, from)
	touched := map[string]bool{}
	for was, is := range Changed(r.written, written) {
		if len(was.Routes)+len(is.Routes) == 0 || was.SameRoutes(is) && was.Name == is.Name {
			continue
		}
		changed.add(cmp.Or(is.Name, was.Name))
		for _, old := range slices.Concat(was.Routes, is.Routes) {
			touched[old.Arena()] = true
		}
	}
	for key := range maps.Clone(changed) {
		if was, is := r.from.has(key), from.has(key); was != is {
			maps.Copy(changed, r.authUsers[key])
		}
	}
	r.from, r.written = from, written
	redo := maps.Clone(changed)
	for key, name := range changed {
		r.forget(key, touched)
		r.want(key, name, touched)
	}
	for arena := range touched {
		maps.Copy(redo, r.claims[arena])
	}
	r.owners = map[string][]rival{}
	notes := make([]sorted.Edit[Out], 0, len(redo))
	for _, key := range slices.Sorted(maps.Keys(redo)) {
		name := redo[key]
		kept, out := r.settle(key)
		notes = append(notes, sorted.Edit[Out]{At: Out{Upstream: name}, Put: distinct(out)})
		delete(r.altered, key)
		u, there := from.Get(name)
		if there && !slices.EqualFunc(u.Routes, kept, route.Route.Identical) {
			u.Routes = kept
			r.altered[key] = alteration{name: u.Name, kept: []Upstream{u}}
		}
	}
	r.to = altered(from, r.to, redo, r.altered)
	r.notes = Outs{r.notes.list.With(notes, byHome)}
	return r.to, r.notes
}

func sameConfigured(a, b []route.Belonging) bool {
	return slices.EqualFunc(a, b, func(a, b route.Belonging) bool { return a.Upstream == b.Upstream && a.Route.Identical(b.Route) })
}

func (s Set) has(key Key) bool {
	_, is := s.Get(string(key))
	return is
}

// forget removes what an upstream wanted.
func (r *Router) forget(key Key, touched map[string]bool) {
	for _, c := range r.wants[key].routes {
		touched[c.arena] = true
		if delete(r.claims[c.arena], key); len(r.claims[c.arena]) == 0 {
			delete(r.claims, c.arena)
		}
	}
	for auth, users := range r.authUsers {
		if delete(users, key); len(users) == 0 {
			delete(r.authUsers, auth)
		}
	}
	delete(r.wants, key)
}

// want computes the wish of an upstream, regardless of the others.
func (r *Router) want(key Key, name string, touched map[string]bool) {
	u, there := r.from.Get(name)
	old, _ := r.written.Get(name)
	w := wish{name: cmp.Or(u.Name, name)}
	out := func(who route.Route, why reason.Reason) {
		w.out = append(w.out, Out{Service: w.name, Upstream: w.name, Route: who.Where(), Reason: why})
	}
	put := func(who route.Route, configured bool) {
		if why := r.refused(&w, who, configured); !why.IsZero() {
			out(who, why)
			return
		}
		pattern, _ := route.ParsePath(who.Path) // it is valid
		c := candidate{
			Route: who, arena: pattern.Arena(who.Host), claim: pattern.Claim(who.Host), pattern: pattern,
			configured: configured, written: slices.ContainsFunc(old.Routes, who.Contends),
		}
		w.routes = append(w.routes, c)
		touched[c.arena] = true
		if r.claims[c.arena] == nil {
			r.claims[c.arena] = map[Key]string{}
		}
		r.claims[c.arena][key] = w.name
	}
	for _, c := range r.configured {
		if KeyOf(c.Upstream) != key {
			continue
		}
		if !there {
			out(c.Route, noUpstream.With(c.Upstream))
			continue
		}
		put(c.Route, true)
	}
	agreed, registered := route.Agreed(u.Routes, old.Routes)
	for _, t := range registered {
		if !slices.ContainsFunc(agreed, t.Same) {
			out(t, outvoted.With())
		}
	}
	slices.SortStableFunc(agreed, func(a, b route.Route) int { // written routes win over those that conflict with them
		return compareBool(slices.ContainsFunc(old.Routes, b.Same), slices.ContainsFunc(old.Routes, a.Same))
	})
	for _, a := range agreed {
		put(a, false)
	}
	if len(w.routes)+len(w.out) > 0 {
		r.wants[key] = w
	}
}

// refused returns why an upstream can't have a route regardless of the others, or the zero Reason. It records which
// upstream the route uses for authorization.
func (r *Router) refused(w *wish, who route.Route, configured bool) reason.Reason {
	if auth := who.AuthUpstream(); auth != "" {
		key := KeyOf(auth)
		if r.authUsers[key] == nil {
			r.authUsers[key] = map[Key]string{}
		}
		r.authUsers[key][KeyOf(w.name)] = w.name
		if !r.from.has(key) {
			return noAuthUpstream.With(auth)
		}
	}
	if err := who.Valid(w.name); err != nil {
		return reason.Of(err)
	}
	if i := slices.IndexFunc(w.routes, func(c candidate) bool { return c.Contends(who) }); i >= 0 {
		if w.routes[i].configured && !configured {
			return routeConfigured.With(w.name)
		}
		return sameRoute.With(who.Where())
	}
	if i := slices.IndexFunc(w.routes, func(c candidate) bool { return c.Ambiguous(who) }); i >= 0 {
		return routeAmbiguous.With(w.routes[i].Where(), w.name)
	}
	if len(w.routes) == route.MaxRoutes {
		return manyRoutes.With(route.MaxRoutes)
	}
	return reason.Reason{}
}

// settle returns the routes that an upstream keeps, and notes for the others.
func (r *Router) settle(key Key) (kept []route.Route, out []Out) {
	w := r.wants[key]
	out = w.out
	for _, c := range w.routes {
		owner, of := r.owner(c, key)
		switch {
		case of == key:
			kept = append(kept, c.Route)
			continue
		case owner.claim != c.claim:
			out = append(out, Out{Service: w.name, Upstream: w.name, Route: c.Where(), Reason: routeAmbiguous.With(owner.Where(), r.wants[of].name)})
		case owner.configured:
			out = append(out, Out{Service: w.name, Upstream: w.name, Route: c.Where(), Reason: routeConfigured.With(r.wants[of].name)})
		default:
			out = append(out, Out{Service: w.name, Upstream: w.name, Route: c.Where(), Reason: routeTaken.With(r.wants[of].name)})
		}
	}
	return route.Canonical(kept), out
}

// owner returns the candidate that wins the requests of the given one, and its upstream.
func (r *Router) owner(of candidate, key Key) (candidate, Key) {
	if len(r.claims[of.arena]) == 1 {
		return of, key
	}
	owners, known := r.owners[of.arena]
	if !known {
		owners = r.contest(of.arena)
		r.owners[of.arena] = owners
	}
	if i := slices.IndexFunc(owners, func(o rival) bool { return o.excludes(of) }); i >= 0 {
		return owners[i].candidate, owners[i].key
	}
	return of, key
}

// contest returns the winning routes of an arena. A route that lost does not exclude those after it.
func (r *Router) contest(arena string) []rival {
	var rivals []rival
	for key := range r.claims[arena] {
		for _, c := range r.wants[key].routes {
			if c.arena == arena {
				rivals = append(rivals, rival{c, key})
			}
		}
	}
	slices.SortFunc(rivals, func(a, b rival) int {
		if c := cmp.Or(compareBool(b.configured, a.configured), compareBool(b.written, a.written), cmp.Compare(a.key, b.key)); c != 0 {
			return c
		}
		return route.Compare(a.Route, b.Route)
	})
	var owners []rival
	for _, next := range rivals {
		if !slices.ContainsFunc(owners, func(o rival) bool { return o.excludes(next.candidate) }) {
			owners = append(owners, next)
		}
	}
	return owners
}
