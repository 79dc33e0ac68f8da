package consul

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/upstream"
)

func TestRoutes(t *testing.T) {
	type in = []*api.ServiceEntry
	for _, tt := range []struct {
		name      string
		in        in
		want, out string
	}{
		{"none", in{entry(), entry(at("10.0.0.2", 80), meta("nginx-weight", "2"), tags("a"))}, "", ""},
		{
			"meta",
			in{entry(meta("swallowkeeper-route", "Shop.example/api/*", "swallowkeeper-route-strip", "true", "swallowkeeper-route-auth", "/auth", "swallowkeeper-route-2", "/old"))},
			"shop.example/api/* strip=/api auth=/auth from=c | /old from=c", "",
		},
		{"fabio", in{entry(tags("urlprefix-/api strip=/api", "other"))}, "/api/* strip=/api from=c", ""},
		{
			"a bad one puts no server out",
			in{entry(meta("swallowkeeper-route", "/a;b"), tags("urlprefix-/ok", "urlprefix-/no proto=https"))},
			"/ok/* from=c",
			`10.0.0.1:80 /a;b: path "/a;b": ';' is not allowed in a path | 10.0.0.1:80 urlprefix-/no proto=https: route option "proto": allowed are methods, strip, rewrite, timeout, auth, websocket`,
		},
		{
			"most of them, usable or not",
			in{
				entry(meta("swallowkeeper-route", "/a")), entry(at("10.0.0.2", 80), meta("swallowkeeper-route", "/b"), ownCheck("c", "critical")),
				entry(at("10.0.0.3", 80), meta("swallowkeeper-route", "/b")), entry(at("10.0.0.4", 80)),
			},
			"/b from=c", "10.0.0.1:80 /a: more instances of the service, or what is written, say otherwise",
		},
		{"a canary says nothing", in{entry(meta("swallowkeeper-route", "/a"), tags("gray=b"))}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Defaults.All = upstream.DefaultTemplate()
			list, out := converter{cfg: &cfg, origin: "c"}.service("web", tt.in)
			var routes, why []string
			servers := 0
			for _, u := range list {
				servers += len(u.Servers)
				for _, r := range u.Routes {
					routes = append(routes, r.Text())
				}
			}
			for _, o := range out {
				if o.Route != "" {
					why = append(why, o.Addr+" "+o.Route+": "+o.Reason.String())
				} else {
					servers++
				}
			}
			if strings.Join(routes, " | ") != tt.want || strings.Join(why, " | ") != tt.out || servers != len(tt.in) {
				t.Errorf("routes %q\nout %q, %d servers", routes, why, servers)
			}
		})
	}
}
