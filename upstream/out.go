package upstream

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strconv"

	"swallowkeeper/internal/sorted"
	"swallowkeeper/reason"
)

// Out is a registered instance or route that gets no traffic, and why. Service, Upstream and Addr come from the
// registry as they are: quote them for display.
type Out struct {
	Service  string // as registered
	Upstream string // the upstream that it would be in, if known
	Addr     string // host:port as registered; "" if the whole service is out
	Reason   reason.Reason
	// Route is the route's host and path as registered, if a route is out and not a server.
	Route string
	// Unknown is the host:port whose addresses are unknown, or [Whole]: see [Set.WithUnknown].
	Unknown string
	// Instance and Node identify the instance. Output is the output of the failing check, on one line and truncated.
	// Reason contains none of them, so that instances that are out for the same cause share a Reason.
	Instance string
	Node     string
	Output   string
	// Unhealthy is set if health checks keep it out, and not an operator.
	Unhealthy bool
}

// Whole as Out.Unknown means that nothing is known of the registry's part of the upstream. It is no valid host:port.
const Whole = "*"

// Same reports whether both are equal apart from the check output, which may differ each time.
func (o Out) Same(p Out) bool {
	o.Output, p.Output = "", ""
	return o == p
}

// Detail returns the instance and its check output, or the zero Reason if neither is known.
func (o Out) Detail() reason.Reason {
	var instance, output reason.Reason
	if o.Instance != "" {
		instance = itsInstance.With(strconv.Quote(o.Instance), strconv.Quote(o.Node))
	}
	if o.Output != "" {
		output = checkSays.With(strconv.Quote(o.Output))
	}
	return reason.Join(instance, output)
}

// Finding is a registry's view of one instance: whether it belongs to the upstream, and why. Its text comes from the
// registry: quote it for display.
type Finding struct {
	Addr   string // host:port as registered
	In     bool
	Reason reason.Reason // which check, tag or rule
	Index  uint64        // of the registry's answer
}

// home returns the upstream that it would be in, or the service if the upstream is unknown.
func (o *Out) home() string { return cmp.Or(o.Upstream, o.Service) }

// byHome orders notes by home.
func byHome(a, b *Out) int { return CompareNames(a.home(), b.home()) }

// compareOut is a total order that refines byHome: only equal notes compare equal.
func compareOut(a, b Out) int {
	return cmp.Or(byHome(&a, &b), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Upstream, b.Upstream),
		cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Route, b.Route), a.Reason.Compare(b.Reason), cmp.Compare(a.Unknown, b.Unknown),
		cmp.Compare(a.Node, b.Node), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Output, b.Output),
		compareBool(a.Unhealthy, b.Unhealthy))
}

// Outs is an immutable list of notes, ordered by upstream and without duplicates. Like a [Set], it shares unchanged
// parts with the list that it was made from. The zero value is empty.
type Outs struct{ list sorted.List[Out] }

// NewOuts returns the given notes as a sorted list.
func NewOuts(out ...Out) Outs { return Outs{sorted.New(distinct(slices.Clone(out)))} }

// Len returns the number of notes.
func (o Outs) Len() int { return o.list.Len() }

// Servers returns the number of notes on instances, that is, without those on routes.
func (o Outs) Servers() int {
	n := 0
	for out := range o.list.All() {
		if out.Route == "" {
			n++
		}
	}
	return n
}

// All yields the notes in order.
func (o Outs) All() iter.Seq[Out] { return values(o.list.All()) }

// Of yields the notes on one upstream. Case in the name is ignored, as in nginx.
func (o Outs) Of(name string) iter.Seq[Out] { return values(o.list.Of(homed(name))) }

func values[T any](all iter.Seq[*T]) iter.Seq[T] {
	return func(yield func(T) bool) {
		for t := range all {
			if !yield(*t) {
				return
			}
		}
	}
}

// With returns the list with more notes.
func (o Outs) With(more ...Out) Outs { return Outs{o.list.With(o.edits(more), byHome)} }

// edits returns the edits that add notes to the list.
func (o Outs) edits(more []Out) []sorted.Edit[Out] {
	more = slices.Clone(more)
	slices.SortStableFunc(more, func(a, b Out) int { return byHome(&a, &b) })
	var edits []sorted.Edit[Out]
	for len(more) > 0 {
		n := 1
		for n < len(more) && byHome(&more[0], &more[n]) == 0 {
			n++
		}
		put := slices.Concat(slices.Collect(o.Of(more[0].home())), more[:n])
		edits = append(edits, sorted.Edit[Out]{At: more[0], Put: distinct(put)})
		more = more[n:]
	}
	return edits
}

// Altered returns the list with alter applied to each note on the given upstreams.
func (o Outs) Altered(upstreams iter.Seq[string], alter func(Out) Out) Outs {
	edits := names{}
	for name := range upstreams {
		edits.add(name)
	}
	put := make([]sorted.Edit[Out], 0, len(edits))
	for _, key := range slices.Sorted(maps.Keys(edits)) {
		of := slices.Collect(o.Of(edits[key]))
		for i := range of {
			of[i] = alter(of[i])
		}
		put = append(put, sorted.Edit[Out]{At: Out{Upstream: edits[key]}, Put: distinct(of)})
	}
	return Outs{o.list.With(put, byHome)}
}

// Changed yields the notes that are in only one of the two lists, in order, each paired with the zero Out. It
// compares only upstreams whose notes were touched.
func (o Outs) Changed(now Outs) iter.Seq2[Out, Out] {
	return func(yield func(Out, Out) bool) {
		for a, b := range sorted.Differing(o.list, now.list, func(a, b *Out) int { return compareOut(*a, *b) }) {
			var was, is Out
			if a != nil && b != nil {
				continue
			}
			if a != nil {
				was = *a
			}
			if b != nil {
				is = *b
			}
			if !yield(was, is) {
				return
			}
		}
	}
}

// same reports whether two lists are equal apart from check outputs.
func (o Outs) same(p Outs) bool {
	if o.Len() != p.Len() {
		return false
	}
	for a, b := range sorted.Differing(o.list, p.list, func(a, b *Out) int { return compareOut(*a, *b) }) {
		if a == nil || b == nil {
			// Not equal. The difference may still be in check outputs alone.
			return slices.EqualFunc(slices.Collect(o.All()), slices.Collect(p.All()), Out.Same)
		}
	}
	return true
}

// Outs returns the notes on what is registered but gets no traffic.
func (s Set) Outs() Outs { return Outs{s.out} }

// Out returns a copy of the notes as a slice.
func (s Set) Out() []Out { return slices.Collect(s.Outs().All()) }

// AlsoOut returns the set with more notes.
func (s Set) AlsoOut(more ...Out) Set {
	if len(more) == 0 {
		return s
	}
	return s.edit(nil, s.Outs().edits(more))
}

// WithOut returns the set with its notes replaced.
func (s Set) WithOut(out ...Out) Set {
	s.out, s.unknown = NewOuts(out...).list, 0
	s.note(s.out.All(), 1)
	return s
}
