package docker

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Labels of other programs.
const (
	composeService = "com.docker.compose.service"
	swarmService   = "com.docker.swarm.service.name"
	swarmTask      = "com.docker.swarm.task.id"
	chipmunksAuth  = "com.chipmunks.auth_backend"
	ours           = "swallowkeeper."
)

// offer is a service's name with its configured port, or "".
type offer struct{ name, port, portFrom string }

// offers returns the services that a workload belongs to. A marked workload without a name is an offer without one.
func (c *Config) offers(w workload) []offer {
	marked := w.marked()
	if c.Expose == exposeMarks && !marked {
		return nil
	}
	o := offer{name: w.labels["swallowkeeper.name"]}
	for _, key := range []string{"swallowkeeper.port", "VIRTUAL_PORT"} {
		if o.port = w.setting(key); o.port != "" {
			o.portFrom = key
			break
		}
	}
	if o.name == "" {
		if byPort := w.offersByPort(); len(byPort) > 0 {
			return byPort
		}
	}
	o.name = cmp.Or(o.name, w.setting("SERVICE_NAME"), w.labels[composeService], w.labels[swarmService], w.virtual())
	if o.name == "" && !marked {
		return nil
	}
	return []offer{o}
}

// virtual derives a service name from host and path, like nginx-proxy: shop-example-api. A dot would make it a host
// name.
func (w *workload) virtual() string {
	host, _, _ := strings.Cut(w.setting("VIRTUAL_HOST"), ",")
	if host == "" {
		return ""
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.TrimSpace(host)+w.setting("VIRTUAL_PATH"))
	return strings.Trim(name, "-")
}

// marked reports whether traffic is wanted: by one of our labels, or by settings for registrator, nginx-proxy or
// Chipmunks.
func (w *workload) marked() bool {
	for key := range w.labels {
		if strings.HasPrefix(key, ours) || key == chipmunksAuth {
			return true
		}
	}
	return w.setting("SERVICE_NAME") != "" || w.setting("VIRTUAL_HOST") != "" || w.setting("VIRTUAL_PATH") != "" || len(w.offersByPort()) > 0
}

// offersByPort parses SERVICE_80_NAME=web like registrator.
func (w *workload) offersByPort() []offer {
	names := map[string]string{}
	for _, from := range []map[string]string{w.env, w.labels} {
		for key, value := range from {
			port, is := strings.CutPrefix(key, "SERVICE_")
			if port, is2 := strings.CutSuffix(port, "_NAME"); is && is2 && value != "" && strings.Trim(port, "0123456789") == "" && port != "" {
				names[port] = value
			}
		}
	}
	var all []offer
	for port, name := range names {
		all = append(all, offer{name: name, port: port, portFrom: "SERVICE_" + port + "_NAME"})
	}
	slices.SortFunc(all, func(a, b offer) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.port, b.port)) })
	return all
}

// routesOf returns the routes in a workload's labels for its service, or else those for nginx-proxy or Chipmunks.
func routesOf(w workload, service, origin string) ([]route.Route, []route.Bad) {
	labels := ownRoutes(w)
	if len(labels) == 0 {
		labels = foreignRoutes(w, service)
	}
	routes, bad := route.Labels(labels, ours, ".", service)
	tagged, wrong := route.FromTags(w.tags(), service)
	routes, bad = route.Canonical(slices.Concat(routes, tagged)), slices.Concat(bad, wrong)
	for i := range routes {
		routes[i].Origin = origin
	}
	return routes, bad
}

// ownRoutes returns the labels that say routes in our own words.
func ownRoutes(w workload) map[string]string {
	labels := map[string]string{}
	for key, value := range w.labels {
		if strings.HasPrefix(key, ours+"route") {
			labels[key] = value
		}
	}
	return labels
}

// tags returns those of SERVICE_TAGS. Fabio's urlprefix- tags are routes.
func (w *workload) tags() (all []string) {
	for tag := range strings.SplitSeq(w.setting("SERVICE_TAGS"), ",") {
		if tag = strings.TrimSpace(tag); tag != "" && len(tag) <= 2*upstream.MaxName {
			all = append(all, tag)
		}
	}
	return all
}

// foreignRoutes translates labels of other programs into ours.
func foreignRoutes(w workload, service string) map[string]string {
	hosts, where := w.setting("VIRTUAL_HOST"), w.setting("VIRTUAL_PATH")
	switch {
	case hosts != "" || where != "":
		labels := map[string]string{}
		where = "/" + strings.Trim(where, "/")
		where = strings.TrimSuffix(where, "/") + "/*"
		n := 0
		for host := range strings.SplitSeq(hosts, ",") {
			n++
			key := ours + "route." + strconv.Itoa(n)
			labels[key] = strings.TrimSpace(host) + where
			switch dest := w.setting("VIRTUAL_DEST"); {
			case dest == "/" && where != "/*":
				labels[key+".strip"] = "true"
			case dest != "" && dest != "/":
				labels[key+".dest"] = dest // not an option of ours: the route is refused with a message
			}
		}
		return labels
	case w.labels[chipmunksAuth] != "":
		return map[string]string{ours + "route": "/" + service + "/*", ours + "route.auth": w.labels[chipmunksAuth]}
	}
	return nil
}
