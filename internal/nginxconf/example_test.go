package nginxconf_test

import (
	"fmt"
	"net/netip"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// What is written can be read back, comments included.
func ExampleAppendBlock() {
	server := upstream.DefaultTemplate().Server()
	server.Addr, server.Origin = netip.MustParseAddrPort("10.0.0.1:80"), "consul"
	web := upstream.Upstream{Name: "web", Options: upstream.Options{Keepalive: 20}, Servers: []upstream.Server{server}}

	text := nginxconf.AppendBlock(nil, web)
	fmt.Print(string(text))
	back, err := nginxconf.ParseBlocks(text)
	fmt.Println(back[0].Identical(web), err)
	// Output:
	// upstream web {
	//     keepalive 20;
	//     server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s; # consul
	// }
	// true <nil>
}
