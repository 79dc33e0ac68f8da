// Package kinds is the list of all kinds of registries and gateways. The first of each is the type of a table that
// names none. A new kind is a folder, a line here and a page in docs: see docs/adding-a-kind.md.
package kinds

import (
	"swallowkeeper/dyups"
	"swallowkeeper/gateway"
	"swallowkeeper/gateway/caddy"
	"swallowkeeper/gateway/nginx"
	"swallowkeeper/registry"
	"swallowkeeper/registry/consul"
	"swallowkeeper/registry/dns"
	"swallowkeeper/registry/docker"
	"swallowkeeper/registry/etcd"
	"swallowkeeper/registry/file"
)

// Registries are all kinds of registries.
func Registries() []registry.Kind {
	return []registry.Kind{
		consul.Kind(),
		file.Kind(),
		docker.Kind(),
		etcd.Kind(),
		dns.Kind(),
	}
}

// Gateways are all kinds of gateways.
func Gateways() []gateway.Kind {
	return []gateway.Kind{
		dyups.Kind(),
		nginx.Kind(),
		caddy.Kind(),
	}
}
