// Package access determines who can reach the nginx location that serves the dyups API. It evaluates requests against
// the configuration as nginx would: from addresses that each stand for a range, with headers that a stranger could
// send, through the listeners, the rewrite directives, the realip module's client address, and the modules that control
// access. It assumes that nobody knows a password.
//
// It can't evaluate Lua, njs, Perl or unknown modules, and says so. It reads a tree of directives and does nothing
// else.
package access

import (
	"net/netip"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// Reach is who can access a location from other machines.
type Reach int

// Levels of access, most restrictive first.
const (
	// Closed admits nobody, or only certain addresses or passwords.
	Closed Reach = iota
	// Trusted admits all machines of networks that may state the client's address: they can state an allowed one.
	Trusted
	// Reading admits everybody for reading.
	Reading
	// Unclear may admit everybody: a limit can't be evaluated.
	Unclear
	// Open admits everybody.
	Open
)

// String returns the name used in docs/doctor.md.
func (r Reach) String() string {
	return [...]string{"closed", "trusted networks", "reading", "can't be told", "open"}[r]
}

// Verdict tells who can access a location through the most permissive listener.
type Verdict struct {
	Reach  Reach
	Listen Listen
	// Example is an address with access.
	Example netip.Addr
	// By is the set_real_ip_from that trusts the client, or the limit that can't be evaluated; nil if neither matters.
	By *nginxtree.Directive
}

// IsEmpty reports whether a text with variables is empty for plain calls from this machine to a location.
func IsEmpty(t *nginxtree.Tree, place *nginxtree.Directive, l Listen, text string) bool {
	p := newProbe(t, place, false)
	from := netip.MustParseAddr("127.0.0.1")
	if addr, err := netip.ParseAddr(l.Host); err == nil && !addr.IsUnspecified() {
		from = addr
	}
	if l.Socket != "" {
		from = netip.Addr{}
	}
	q := p.request(l, from, "POST", "/upstream/x")
	q.arrive(p.place, p.place)
	v := q.text(text)
	return v.known && v.text == ""
}

// maxRuns limits the requests tried for one location.
const maxRuns = 200_000

// Who tells who can access the content of a location.
func Who(t *nginxtree.Tree, place *nginxtree.Directive) Verdict {
	if place.Around("server") == nil || place.Around("http") == nil {
		return Verdict{}
	}
	return newProbe(t, place, false).who(t)
}

// Forwards tells who can reach a proxy_pass, with any URI.
func Forwards(t *nginxtree.Tree, pass *nginxtree.Directive) Verdict {
	if pass.Around("server") == nil || pass.Around("location") == nil {
		return Verdict{}
	}
	return newProbe(t, pass, true).who(t)
}

func (p *probe) who(t *nginxtree.Tree) Verdict {
	worst := Verdict{}
	for _, l := range Listeners(t, p.server) {
		if l.Local() {
			continue
		}
		if v := p.listener(l); v.Reach > worst.Reach {
			worst = v
		}
	}
	return worst
}

// Lets reports whether a client with that address can access the content of a location without a password, whatever
// headers it sends.
func Lets(t *nginxtree.Tree, place *nginxtree.Directive, l Listen, from netip.Addr) bool {
	p := newProbe(t, place, false)
	got, _ := p.best(l, from, true)
	return got.in && got.unsure == nil
}

// probe tries requests to one location.
type probe struct {
	names         *names
	server, place *nginxtree.Directive
	borders       []netip.Prefix
	uris          []string
	anyURI        bool // the content accepts any URI, not only those of the API
	runs          int

	claims []netip.Addr // addresses to claim; the last successful one comes first
}

func newProbe(t *nginxtree.Tree, place *nginxtree.Directive, anyURI bool) *probe {
	server := place.Around("server")
	if location := place.Around("location"); location != nil {
		place = location
	}
	p := &probe{names: readNames(t), server: server, place: place, borders: borders(t, server), runs: maxRuns, anyURI: anyURI}
	p.uris = p.candidates()
	p.claims = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for _, b := range p.borders {
		p.claims = append(p.claims, b.Addr())
	}
	return p
}

// result is the best outcome of the requests from an address.
type result struct {
	in               bool
	unsure, believed *nginxtree.Directive
}

// candidates returns the URIs to try: the API's own, the location's name, and the names of other locations that may
// lead there.
func (p *probe) candidates() []string {
	kind, name := locationName(p.place)
	var all []string
	add := func(uri string) {
		if !slices.Contains(all, uri) && len(all) < 32 {
			all = append(all, uri)
		}
	}
	add("/upstream/x")
	add("/list")
	if kind != "~" && kind != "~*" && name != "" && name[0] == '/' {
		add(name)
		add(strings.TrimSuffix(name, "/") + "/upstream/x")
	}
	leads := false
	walk(p.server, func(d *nginxtree.Directive) {
		leads = leads || d.Name() == "rewrite" || d.Name() == "try_files"
	})
	reaches := func(uri string) bool {
		q := p.request(Listen{}, netip.Addr{}, "POST", uri)
		return q.find(p.server) == p.place
	}
	direct := slices.ContainsFunc(all, reaches)
	if leads {
		walk(p.server, func(d *nginxtree.Directive) {
			if d.Name() == "location" {
				if kind, name := locationName(d); kind != "~" && kind != "~*" && name != "" && name[0] == '/' {
					add(name)
					add(strings.TrimSuffix(name, "/") + "/upstream/x")
				}
			}
		})
	} else {
		all = slices.DeleteFunc(all, func(uri string) bool { return !reaches(uri) })
	}
	if !direct && (kind == "~" || kind == "~*") && (p.anyURI || len(p.place.Children("rewrite", "if")) > 0) {
		all = append(all, "") // some URI leads there after a rewrite
	}
	return all
}

func walk(d *nginxtree.Directive, f func(*nginxtree.Directive)) {
	for _, c := range d.Block {
		f(c)
		walk(c, f)
	}
}

func (p *probe) request(l Listen, peer netip.Addr, method, uri string) *request {
	return &request{
		names: p.names, listen: l, server: p.server, peer: peer, method: method, first: uri, uri: uri, addr: peer,
		anyURI: p.anyURI, vars: map[string]value{}, ruling: map[string]string{}, pick: func(int) int { return 0 },
	}
}

// listener tells who has access through one listen address.
func (p *probe) listener(l Listen) Verdict {
	if len(p.borders) > maxSpans {
		return Verdict{Reach: Unclear, Listen: l, By: p.place}
	}
	v4, v6 := l.families()
	worst := Verdict{}
	for _, six := range []bool{false, true} {
		if six && !v6 || !six && !v4 {
			continue
		}
		if v := p.family(l, six, v6 && !six && l.both); v.Reach > worst.Reach {
			worst = v
		}
	}
	return worst
}

// family adds up how much of the address space has access.
func (p *probe) family(l Listen, six, over bool) Verdict {
	list := spans(p.borders, six)
	var size [Open + 1]float64
	var first [Open + 1]Verdict
	note := func(r Reach, s span, by *nginxtree.Directive) {
		if size[r] == 0 {
			first[r] = Verdict{Reach: r, Listen: l, Example: s.addr, By: by}
		}
		size[r] += s.size
	}
	for _, s := range list {
		if s.addr.IsLoopback() {
			continue
		}
		for _, writes := range []bool{true, false} {
			got, reached := p.bestOver(l, s.addr, writes, over)
			if !reached {
				continue
			}
			reach := Open
			switch {
			case !writes:
				reach = Reading
			case got.unsure != nil:
				reach = Unclear
			}
			if got.believed != nil && s.size > 1 {
				note(Trusted, s, got.believed)
			}
			if public(s.addr) {
				by := got.believed
				if reach == Unclear {
					by = got.unsure
				}
				note(reach, s, by)
			}
			if writes {
				break
			}
		}
	}
	size[Unclear] += size[Open]
	size[Reading] += size[Unclear]
	for r := Open; r > Trusted; r-- {
		if size[r] > crowd(list[0].addr) && first[r].Reach != Closed {
			return first[r]
		}
	}
	return first[Trusted]
}

func (p *probe) best(l Listen, from netip.Addr, writes bool) (result, bool) {
	return p.bestOver(l, from, writes, false)
}

// bestOver tries what a client of that address could do until it has access.
func (p *probe) bestOver(l Listen, from netip.Addr, writes, over bool) (result, bool) {
	methods := []string{"POST", "DELETE"}
	if !writes {
		methods = []string{"GET"}
	}
	best := result{}
	try := func(claim netip.Addr) bool {
		for _, method := range methods {
			for _, uri := range p.uris {
				if got := p.play(l, from, claim, method, uri, over); got.in && (!best.in || best.unsure != nil) {
					best = got
				}
				if best.in && best.unsure == nil {
					return true
				}
			}
		}
		return false
	}
	if try(netip.Addr{}) || !p.believes(from) {
		return best, best.in
	}
	for i, claim := range p.claims {
		if try(claim) {
			p.claims = append([]netip.Addr{claim}, slices.Delete(p.claims, i, i+1)...)
			break
		}
	}
	return best, best.in
}

// believes reports whether anything trusts the claims of that address.
func (p *probe) believes(from netip.Addr) bool {
	found := false
	check := func(d *nginxtree.Directive) {
		if d.Name() == "set_real_ip_from" && len(d.Args) > 1 {
			network, ok := parsePrefix(d.Args[1])
			found = found || ok && network.Contains(from)
		}
	}
	for b := p.server; b != nil; b = b.Parent {
		for _, d := range b.Block {
			check(d)
		}
	}
	walk(p.server, check)
	return found
}

// play sends a request for each combination of what the client may send.
func (p *probe) play(l Listen, from, claim netip.Addr, method, uri string, over bool) result {
	var choices, options []int
	best := result{}
	for range 512 {
		if p.runs--; p.runs < 0 {
			return result{in: true, unsure: p.place}
		}
		q := p.request(l, from, method, uri)
		q.claim, q.overIPv6 = claim, over
		at := 0
		q.pick = func(of int) int {
			if at == len(choices) {
				choices, options = append(choices, 0), append(options, of)
			}
			at++
			return min(choices[at-1], of-1)
		}
		var start *nginxtree.Directive
		if uri == "" {
			start = p.place
		}
		if q.arrive(p.place, start) == letIn {
			got := result{in: true, unsure: q.unsure, believed: q.believed}
			if q.unsure == nil {
				return got
			}
			best = got
		}
		// Next combination: advance the last choice that has another value.
		n := len(choices)
		for n > 0 && choices[n-1]+1 >= options[n-1] {
			n--
		}
		if n == 0 {
			break
		}
		choices, options = choices[:n], options[:n]
		choices[n-1]++
	}
	return best
}
