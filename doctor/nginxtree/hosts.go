package nginxtree

import (
	"net/netip"
	"slices"
	"strings"
)

// Host is a host that a directive sends requests to, as it is written there.
type Host struct {
	Name string // in lower case, as nginx compares it
	// Port says that a port stands behind it: beside an upstream of that name nginx then does not load.
	Port bool
	At   *Directive
}

var passes = []string{"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"}

// Hosts are the hosts that requests are sent to by name, but for those that a variable decides on. One
// that upstreams of the configuration have is among them.
func (t *Tree) Hosts() []Host {
	var all []Host
	t.Walk(func(d *Directive) {
		if !slices.Contains(passes, d.Name()) || len(d.Args) < 2 ||
			slices.Contains(d.Path(), "stream") { // whose upstreams are others
			return
		}
		to := d.Args[1]
		if _, rest, ok := strings.Cut(to, "://"); ok {
			to = rest
		}
		to, _, _ = strings.Cut(to, "/")
		to, _, _ = strings.Cut(to, "?")
		name, port, hasPort := strings.Cut(to, ":")
		if strings.HasPrefix(to, "[") || strings.HasPrefix(to, "unix:") || name == "" || strings.Contains(name, "$") {
			return
		}
		if _, err := netip.ParseAddr(name); err == nil {
			return
		}
		// A port that a variable decides on has nginx look for an upstream at each request.
		all = append(all, Host{Name: strings.ToLower(name), Port: hasPort && !strings.Contains(port, "$"), At: d})
	})
	return all
}
