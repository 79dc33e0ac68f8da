package nginxconf_test

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"swallowkeeper/gateway"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// validUpstream draws any upstream that the program may hold. Its origins are any text.
func validUpstream() *rapid.Generator[upstream.Upstream] {
	return rapid.Custom(func(t *rapid.T) upstream.Upstream {
		name := rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_.-]{0,20}`).Draw(t, "name")
		canary := ""
		if rapid.Bool().Draw(t, "is canary") {
			canary = rapid.StringMatching(`[A-Za-z0-9_.-]{1,8}`).Draw(t, "canary")
			name += "_" + canary
		}
		method := rapid.SampledFrom([]string{"", "least_conn", "ip_hash", "random"}).Draw(t, "method")
		servers := rapid.SliceOfNDistinct(validServer(), 1, 8, func(s upstream.Server) netip.AddrPort { return s.Addr }).
			Draw(t, "servers")
		set, _ := gateway.Admit(upstream.NewSet([]upstream.Upstream{{
			Name: name, Canary: canary,
			Options: upstream.Options{Method: method, Keepalive: rapid.IntRange(0, upstream.MaxCount).Draw(t, "keepalive")},
			Servers: servers,
			Routes:  validRoutes(t, name),
		}}), gateway.Nginx())
		u, _ := set.Get(name)
		return u
	})
}

func validRoutes(t *rapid.T, upstream string) (routes []route.Route) {
	for _, text := range rapid.SliceOfN(rapid.SampledFrom([]string{
		"/web/*", "/web", "shop.example/api/{id:[0-9]{1,8}}/{rest...} rewrite=/v2/{rest}/{id}", "/web/* methods=GET,POST",
		"shop.example/api/* strip=/api timeout=1.5s auth=auth-/verify websocket=false",
	}), 0, 5).Draw(t, "routes") {
		r, err := route.Registered(text, upstream, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Origin = rapid.String().Draw(t, "origin")
		if !slices.ContainsFunc(routes, r.Contends) {
			routes = append(routes, r)
		}
	}
	return routes
}

func validServer() *rapid.Generator[upstream.Server] {
	return rapid.Custom(func(t *rapid.T) upstream.Server {
		var ip netip.Addr
		if rapid.Bool().Draw(t, "ipv6") {
			b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip"))
			b[0] = 0x20
			ip = netip.AddrFrom16(b)
		} else {
			b := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip"))
			b[0] = 10
			ip = netip.AddrFrom4(b)
		}
		s := upstream.Server{
			Addr:        netip.AddrPortFrom(ip, rapid.Uint16Range(1, 65535).Draw(t, "port")),
			Weight:      rapid.IntRange(1, upstream.MaxWeight).Draw(t, "weight"),
			MaxConns:    rapid.IntRange(0, upstream.MaxCount).Draw(t, "max_conns"),
			MaxFails:    rapid.IntRange(0, upstream.MaxCount).Draw(t, "max_fails"),
			FailTimeout: time.Duration(rapid.IntRange(0, 86400).Draw(t, "fail_timeout")) * time.Second,
			Backup:      rapid.Bool().Draw(t, "backup"),
			Down:        rapid.Bool().Draw(t, "down"),
			Origin:      rapid.OneOf(rapid.String(), rapid.Just("consul@127.0.0.1:8500"), rapid.Just("a,b")).Draw(t, "origin"),
		}
		if s.Origin != "" {
			s.Host = rapid.SampledFrom([]string{"", "lb.example:80", "_x.y-z.:65535"}).Draw(t, "host")
		}
		return s
	})
}

// many is a set like a big installation's.
func many(upstreams, servers int) []upstream.Upstream {
	list := make([]upstream.Upstream, upstreams)
	for i := range list {
		list[i] = upstream.Upstream{Name: "service-" + strconv.Itoa(10000+i), Options: upstream.Options{Keepalive: 20}}
		for j := range servers {
			list[i].Servers = append(list[i].Servers, upstream.Server{
				Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j + 1)}), 8080),
				Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "consul@127.0.0.1:8500",
			})
		}
	}
	return list
}
