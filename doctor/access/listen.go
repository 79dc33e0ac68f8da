package access

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// Listen is where a server listens: the path of a socket, or a host ("" for all) and a port.
type Listen struct {
	At           *nginxtree.Directive // nil: nginx's default
	Socket, Host string
	Port         int

	tls, proxyProtocol bool
	both               bool // [::] that includes IPv4
}

// Listens returns where a server listens.
func Listens(server *nginxtree.Directive) []Listen {
	var all []Listen
	for _, d := range server.Children("listen") {
		if len(d.Args) > 1 {
			all = append(all, readListen(d))
		}
	}
	if len(all) == 0 {
		all = []Listen{{Port: 80}}
	}
	if on := server.Inherited("ssl"); len(on) > 0 && len(on[0].Args) > 1 && on[0].Args[1] == "on" {
		for i := range all {
			all[i].tls = true
		}
	}
	return all
}

func readListen(d *nginxtree.Directive) Listen {
	l := Listen{At: d, Port: 80}
	for _, a := range d.Args[2:] {
		switch a {
		case "ssl", "quic":
			l.tls = true
		case "proxy_protocol":
			l.proxyProtocol = true
		case "ipv6only=off":
			l.both = true
		}
	}
	s := d.Args[1]
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		l.Socket = path
		return l
	}
	if port, ok := readPort(s); ok {
		l.Port = port
		return l
	}
	l.Host = strings.Trim(s, "[]")
	if host, port, err := net.SplitHostPort(s); err == nil {
		l.Host = host
		l.Port, _ = readPort(port)
	}
	if l.Host == "*" {
		l.Host = ""
	}
	return l
}

// readPort parses 80, or the first port of 8000-8010.
func readPort(s string) (int, bool) {
	first, _, _ := strings.Cut(s, "-")
	port, err := strconv.Atoi(first)
	return port, err == nil
}

// String returns the address as in the configuration.
func (l Listen) String() string {
	if l.At == nil {
		return "*:80"
	}
	return l.At.Args[1]
}

// Local reports whether only this machine can reach it.
func (l Listen) Local() bool {
	if l.Socket != "" || strings.EqualFold(l.Host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(l.Host)
	return err == nil && addr.Unmap().IsLoopback()
}

// Serves reports whether a gateway's address leads here. Only ports are compared, as a name or another container's
// address may precede them.
func (l Listen) Serves(address string) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return l.Socket == path
	}
	u, err := url.Parse(address)
	if err != nil || l.Socket != "" {
		return false
	}
	port := 80
	if u.Scheme == "https" {
		port = 443
	}
	if p, err := strconv.Atoi(u.Port()); err == nil {
		port = p
	}
	return l.Port == port
}

// families returns the IP versions that can reach it.
func (l Listen) families() (v4, v6 bool) {
	addr, err := netip.ParseAddr(l.Host)
	switch {
	case l.Host == "":
		return true, false
	case err != nil: // a host name
		return true, true
	case addr.Is4() || addr.Is4In6():
		return true, false
	default:
		return l.both && addr.IsUnspecified(), true
	}
}

// Listeners returns where a server listens, with options from other servers: in nginx, ssl and proxy_protocol belong to
// an address, not to a server.
func Listeners(t *nginxtree.Tree, server *nginxtree.Directive) []Listen {
	all := Listens(server)
	t.Walk(func(d *nginxtree.Directive) {
		if d.Name() != "listen" || len(d.Args) < 2 || d.Around("http") == nil {
			return
		}
		other := readListen(d)
		for i, l := range all {
			if l.Socket == other.Socket && l.Host == other.Host && l.Port == other.Port {
				all[i].tls = l.tls || slices.Contains(d.Args[2:], "ssl")
				all[i].proxyProtocol = l.proxyProtocol || other.proxyProtocol
				all[i].both = l.both || other.both
			}
		}
	})
	return all
}
