package consul

import (
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// metaRoutes is the prefix of the meta keys of routes: swallowkeeper-route, swallowkeeper-route-strip.
const metaRoutes = "swallowkeeper-"

// saysRoutes reports whether an instance registers routes, valid or not.
func saysRoutes(e *api.ServiceEntry) bool {
	for key := range e.Service.Meta {
		if strings.HasPrefix(key, metaRoutes+"route") {
			return true
		}
	}
	return slices.ContainsFunc(e.Service.Tags, route.IsFabio)
}

// says returns the routes that an instance registers for its upstream, in its meta and in fabio tags.
func (c converter) says(name string, i *instance) upstream.InstanceRoutes {
	e := i.entry
	s := upstream.InstanceRoutes{Addr: i.shownAddr(), Instance: safetext.Cut(e.Service.ID, mostText), Node: safetext.Cut(e.Node.Node, mostText)}
	routes, bad := route.Labels(e.Service.Meta, metaRoutes, "-", name)
	tagged, wrong := route.FromTags(e.Service.Tags, name)
	s.Routes, s.Bad = slices.Concat(routes, tagged), slices.Concat(bad, wrong)
	for i := range s.Routes {
		s.Routes[i].Origin = c.origin
	}
	return s
}
