package nginxtree

import (
	"net/netip"
	"slices"
	"strings"
)

// Host is a host that a directive proxies to, as written.
type Host struct {
	Name string // in lower case, as compared by nginx
	// Port reports that a port follows: nginx does not load if there is also an upstream of that name.
	Port bool
	At   *Directive
}

var passes = []string{"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"}

// Hosts returns the hosts that requests are proxied to by name, except those determined by variables. Names of
// upstreams in the configuration are included.
func (t *Tree) Hosts() []Host {
	var all []Host
	t.Walk(func(d *Directive) {
		if !slices.Contains(passes, d.Name()) || len(d.Args) < 2 ||
			slices.Contains(d.Path(), "stream") { // which has its own upstreams
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
		// If a variable determines the port, nginx looks for an upstream at each request.
		all = append(all, Host{Name: strings.ToLower(name), Port: hasPort && !strings.Contains(port, "$"), At: d})
	})
	return all
}
