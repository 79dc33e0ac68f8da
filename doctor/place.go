package doctor

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/doctor/nginxtree"
)

// children are the directives of that name in a block.
func children(d *nginxtree.Directive, names ...string) []*nginxtree.Directive {
	var found []*nginxtree.Directive
	for _, c := range d.Block {
		if slices.Contains(names, c.Name()) {
			found = append(found, c)
		}
	}
	return found
}

// inherited is the directives of these names that hold in a block: its own, or where it
// has none those of the nearest block around it, as nginx does for most directives.
func inherited(d *nginxtree.Directive, names ...string) []*nginxtree.Directive {
	for ; d != nil; d = d.Parent {
		if found := children(d, names...); len(found) > 0 {
			return found
		}
	}
	return nil
}

// value is the first argument of the directive that holds, or other.
func value(d *nginxtree.Directive, name, other string) string {
	if found := inherited(d, name); len(found) > 0 && len(found[0].Args) > 1 {
		return found[0].Args[1]
	}
	return other
}

func around(d *nginxtree.Directive, name string) *nginxtree.Directive {
	for ; d != nil; d = d.Parent {
		if d.Name() == name {
			return d
		}
	}
	return nil
}

// listen is where a server listens: a socket's path, or a host ("" for all) and a port.
type listen struct {
	at           *nginxtree.Directive // nil: nginx's default
	socket, host string
	port         int
}

func listens(server *nginxtree.Directive) []listen {
	var all []listen
	for _, d := range children(server, "listen") {
		if len(d.Args) > 1 {
			all = append(all, readListen(d))
		}
	}
	if len(all) == 0 {
		all = []listen{{port: 80}}
	}
	return all
}

func readListen(d *nginxtree.Directive) listen {
	l := listen{at: d, port: 80}
	s := d.Args[1]
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		l.socket = path
		return l
	}
	if port, err := strconv.Atoi(s); err == nil {
		l.port = port
		return l
	}
	l.host = strings.Trim(s, "[]")
	if host, port, err := net.SplitHostPort(s); err == nil {
		l.host = host
		l.port, _ = strconv.Atoi(port)
	}
	if l.host == "*" {
		l.host = ""
	}
	return l
}

// open reports whether other machines can reach it.
func (l listen) open() bool {
	if l.socket != "" || strings.EqualFold(l.host, "localhost") {
		return false
	}
	addr, err := netip.ParseAddr(l.host)
	return err != nil || !addr.IsLoopback()
}

// serves reports whether a gateway's address leads here. A port alone is compared: a name
// or another container's address may stand before it.
func (l listen) serves(address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return l.socket == path
	}
	u, err := url.Parse(address)
	if err != nil || l.socket != "" {
		return false
	}
	port := 80
	if p, err := strconv.Atoi(u.Port()); err == nil {
		port = p
	}
	return l.port == port
}

// size reads nginx's 8k and 2m.
func size(s string) (int, bool) {
	unit := 1
	switch {
	case strings.HasSuffix(s, "k"), strings.HasSuffix(s, "K"):
		unit = 1 << 10
	case strings.HasSuffix(s, "m"), strings.HasSuffix(s, "M"):
		unit = 1 << 20
	case strings.HasSuffix(s, "g"), strings.HasSuffix(s, "G"):
		unit = 1 << 30
	}
	if unit > 1 {
		s = s[:len(s)-1]
	}
	n, err := strconv.Atoi(s)
	return n * unit, err == nil && n >= 0 && n <= 1<<31
}

// duration reads nginx's 500ms, 2s, 1m and 10, which is seconds.
func duration(s string) (time.Duration, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	return d, err == nil
}
