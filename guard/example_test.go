package guard_test

import (
	"fmt"
	"net/netip"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// web is a service of so many servers.
func web(servers int) upstream.Set {
	u := upstream.Upstream{Name: "web"}
	for i := range servers {
		server := upstream.DefaultTemplate().Server()
		server.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
		u.Servers = append(u.Servers, server)
	}
	return upstream.NewSet([]upstream.Upstream{u})
}

// A change that takes most servers away is held, until a person approves exactly that change.
func ExampleConfig_Decide() {
	rules := guard.DefaultConfig()
	in := guard.Input{Accepted: web(10), Seen: web(2), Now: time.Unix(0, 0)}

	held := rules.Decide(in)
	fmt.Println(held.Accepted.Servers(), "servers:", guard.Reasons(held.Holds))

	in.Approved, in.History = held.Holds[0].ID, held.History
	fmt.Println(rules.Decide(in).Accepted.Servers(), "servers after the approval")
	// Output:
	// 10 servers: 8 of 10 servers would go, max_removal allows 50%: removals are held
	// 2 servers after the approval
}
