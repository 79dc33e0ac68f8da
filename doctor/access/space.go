package access

import (
	"net/netip"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// span is a range of addresses that are all treated alike, with one that represents it.
type span struct {
	addr netip.Addr
	size float64
}

// Parts of the address space that no stranger comes from. Of IPv6, only 2000::/3 is assigned to the Internet.
var private = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.168.0.0/16", "224.0.0.0/3", "::/3", "4000::/2", "8000::/1")

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, s := range list {
		all[i] = netip.MustParsePrefix(s)
	}
	return all
}

// public reports whether strangers may have that address.
func public(a netip.Addr) bool {
	return !slices.ContainsFunc(private, func(p netip.Prefix) bool { return p.Contains(a) })
}

// crowd is the number of public addresses that count as everybody: more than a /8 of IPv4, or a /16 of IPv6. So large a
// range can't be somebody's own.
func crowd(a netip.Addr) float64 {
	if a.Is4() {
		return 1 << 24
	}
	return 1 << 112
}

// maxSpans limits the work. Configurations with more ranges are not judged.
const maxSpans = 4000

// spans splits the address space at all borders, so that one address of a span represents all.
func spans(borders []netip.Prefix, v6 bool) []span {
	starts := []netip.Addr{netip.IPv4Unspecified()}
	if v6 {
		starts[0] = netip.IPv6Unspecified()
	} else {
		for i := range 256 { // expressions over addresses look at their first number
			starts = append(starts, netip.AddrFrom4([4]byte{byte(i)}))
		}
	}
	for _, p := range slices.Concat(private, borders) {
		if p.Addr().Is6() != v6 {
			continue
		}
		starts = append(starts, p.Masked().Addr())
		if next := last(p).Next(); next.IsValid() {
			starts = append(starts, next)
		}
	}
	slices.SortFunc(starts, netip.Addr.Compare)
	starts = slices.Compact(starts)
	all := make([]span, len(starts))
	for i, start := range starts {
		end := netip.Addr{}
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		size := distance(start, end)
		s := span{start, size}
		if next := start.Next(); size > 1 && next.IsValid() {
			s.addr = next // the first address of a network is not assigned
		}
		all[i] = s
	}
	return all
}

// distance returns the number of addresses from a to before b, or to the end if b is invalid.
func distance(a, b netip.Addr) float64 {
	value := func(addr netip.Addr) float64 {
		v := 0.0
		for _, c := range addr.AsSlice() {
			v = v*256 + float64(c)
		}
		return v
	}
	if !b.IsValid() {
		if a.Is4() {
			return 1<<32 - value(a)
		}
		return 1<<64*1<<64 - value(a)
	}
	x, y := a.AsSlice(), b.AsSlice()
	for i := range x { // common bytes cancel out without rounding
		if x[i] != y[i] {
			break
		}
		x[i], y[i] = 0, 0
	}
	vx, _ := netip.AddrFromSlice(x)
	vy, _ := netip.AddrFromSlice(y)
	return value(vy) - value(vx)
}

// last returns the last address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parsePrefix parses an address or network like nginx: bits outside the mask are ignored.
func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// borders returns all networks and addresses that the configuration around a server contains and its limits may depend
// on.
func borders(t *nginxtree.Tree, server *nginxtree.Directive) []netip.Prefix {
	var all []netip.Prefix
	add := func(words []string) {
		for _, w := range words {
			w = strings.Trim(w, `()"'`)
			if from, to, ok := strings.Cut(w, "-"); ok { // geo with ranges
				for _, w := range []string{from, to} {
					if p, ok := parsePrefix(w); ok {
						all = append(all, p)
					}
				}
			} else if p, ok := parsePrefix(w); ok {
				all = append(all, p)
			}
		}
	}
	t.Walk(func(d *nginxtree.Directive) {
		if len(all) > maxSpans {
			return
		}
		inServer := d.Around("server")
		switch {
		case inServer != nil && inServer != server:
		case d.Parent != nil && (d.Parent.Name() == "geo" || d.Parent.Name() == "map"):
			add(d.Args)
		case d.Name() == "allow" || d.Name() == "deny" || d.Name() == "set_real_ip_from" || d.Name() == "if":
			add(d.Args[1:])
		}
	})
	return all
}
