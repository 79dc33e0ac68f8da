package upstream_test

import (
	"fmt"
	"net/netip"

	"swallowkeeper/upstream"
)

// service is an upstream with servers at the given addresses.
func service(name string, addresses ...string) upstream.Upstream {
	u := upstream.Upstream{Name: name}
	for _, a := range addresses {
		server := upstream.DefaultTemplate().Server()
		server.Addr = netip.MustParseAddrPort(a)
		u.Servers = append(u.Servers, server)
	}
	return u
}

// What a gateway has to be told is the difference between what it has and what is wanted.
func ExampleDiff() {
	live := upstream.NewSet([]upstream.Upstream{service("web", "10.0.0.1:80", "10.0.0.2:80")})
	want := upstream.NewSet([]upstream.Upstream{service("web", "10.0.0.2:80"), service("api", "10.0.0.9:80")})

	changes := upstream.Diff(live, want)
	fmt.Println(changes.Reason())
	for _, u := range changes.Updated {
		fmt.Printf("%s: %d servers, now %d\n", u.New.Name, len(u.Old.Servers), len(u.New.Servers))
	}
	// Output:
	// added api; changed web
	// web: 2 servers, now 1
}

// A set never changes. With returns another one that shares what is the same.
func ExampleSet_With() {
	before := upstream.NewSet([]upstream.Upstream{service("web", "10.0.0.1:80")})
	after := before.With([]upstream.Upstream{service("api", "10.0.0.9:80")}, []string{"web"})
	fmt.Println(before.Names(), after.Names())
	// Output: [web] [api]
}
