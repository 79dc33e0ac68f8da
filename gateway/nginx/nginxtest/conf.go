package nginxtest

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// conf is what a worker has read.
type conf struct {
	set    upstream.Set
	server *nginxtree.Directive // the first one
}

// emergency is what nginx says of a configuration that it does not load.
func emergency(at *nginxtree.Directive, format string, args ...any) error {
	return fmt.Errorf("nginx: [emerg] %s in %s", fmt.Sprintf(format, args...), at.Where())
}

// known are the directives that the double takes, and where. It refuses all others, as nginx does what it does not know.
var known = map[string][]string{
	"http": {""}, "events": {""}, "worker_processes": {""}, "worker_shutdown_timeout": {""}, "pid": {""}, "error_log": {""},
	"include":  {"", "http", "server", "location"},
	"upstream": {"http"}, "server": {"http"}, "map": {"http"}, "location": {"server", "location"}, "if": {"server", "location"},
	"limit_except": {"location"}, "listen": {"server"}, "server_name": {"server"}, "access_log": {"http", "server", "location"},
	"default_type": {"http", "server", "location"}, "return": {"server", "location", "if"}, "internal": {"location"},
	"rewrite": {"server", "location", "if"}, "set": {"server", "location", "if"}, "proxy_pass": {"location", "limit_except"},
	"proxy_http_version": {"location"}, "proxy_set_header": {"location"}, "proxy_pass_request_body": {"location"},
	"proxy_read_timeout": {"location"}, "proxy_send_timeout": {"location"}, "proxy_connect_timeout": {"location"},
	"absolute_redirect": {"location"}, "error_page": {"location"}, "auth_request": {"location"}, "deny": {"limit_except", "location"}, "proxy_next_upstream_timeout": {"location"},
}

// load reads a configuration as strictly as nginx.
func load(main string) (*conf, error) {
	tree, err := nginxtree.ReadDisk(main)
	if err != nil {
		return nil, fmt.Errorf("nginx: [emerg] %w", err)
	}
	c := &conf{}
	var list []upstream.Upstream
	var passes []*nginxtree.Directive
	names, places := map[upstream.Key]bool{}, map[string]bool{}
	tree.Walk(func(d *nginxtree.Directive) {
		path := d.Path()
		within := ""
		if len(path) > 0 {
			within = path[len(path)-1]
		}
		switch {
		case err != nil, within == "upstream", within == "map":
			return // read with their block
		case !slices.Contains(known[d.Name()], within):
			if known[d.Name()] == nil {
				err = emergency(d, "unknown directive %q", d.Name())
				return
			}
			err = emergency(d, "%q directive is not allowed here", d.Name())
			return
		}
		switch d.Name() {
		case "upstream":
			u := upstream.Upstream{Name: d.Args[1]}
			if names[upstream.KeyOf(u.Name)] {
				err = emergency(d, "duplicate upstream %q", u.Name)
				return
			}
			names[upstream.KeyOf(u.Name)] = true
			if u, err = block(d); err == nil {
				list = append(list, u)
			}
		case "location":
			key := fmt.Sprintf("%p %q", d.Parent, d.Args[1:])
			if places[key] {
				err = emergency(d, "duplicate location %q", d.Args[len(d.Args)-1])
				return
			}
			places[key] = true
			if len(d.Args) == 3 && d.Args[1] == "~" {
				if _, wrong := regexp.Compile(d.Args[2]); wrong != nil {
					err = emergency(d, "%v", wrong)
				}
			}
		case "server":
			c.server = cmp.Or(c.server, d)
		case "proxy_pass":
			passes = append(passes, d)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, d := range passes {
		host, _, _ := strings.Cut(strings.TrimPrefix(d.Args[1], "http://"), "/")
		if _, err := netip.ParseAddrPort(host); err != nil && !strings.Contains(host, "$") && !names[upstream.KeyOf(host)] {
			return nil, emergency(d, "host not found in upstream %q", host)
		}
	}
	c.set = upstream.NewSet(list)
	return c, nil
}

// block reads an upstream's block with the parser that the double of another kind has: the gateway's own is not trusted.
func block(d *nginxtree.Directive) (upstream.Upstream, error) {
	var body strings.Builder
	for _, inner := range d.Block {
		body.WriteString(inner.String() + "\n")
	}
	options, servers, err := nginxconf.ParseBody([]byte(body.String()))
	if err != nil {
		return upstream.Upstream{}, emergency(d, "%s", err)
	}
	return upstream.Upstream{Name: d.Args[1], Options: options, Servers: servers}, nil
}
