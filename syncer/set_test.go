package syncer

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// set reads a set from a line such as "a: 1 2, b: 3 down, c: none": each number is
// a server, 10.0.0.N:80, and each path a route.
func set(line string) upstream.Set {
	var list []upstream.Upstream
	for part := range strings.SplitSeq(line, ",") {
		name, servers, found := strings.Cut(strings.TrimSpace(part), ":")
		if !found {
			continue
		}
		u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
		for _, word := range strings.Fields(servers) {
			if strings.HasPrefix(word, "/") {
				u.Routes = append(u.Routes, route.Route{Path: word, Origin: "r"})
				continue
			}
			switch word {
			case "none":
			case "down":
				u.Servers[len(u.Servers)-1].Down = true
			default:
				u.Servers = append(u.Servers, upstream.Server{
					Addr: netip.MustParseAddrPort("10.0.0." + word + ":80"), Weight: 1, MaxFails: 3,
					FailTimeout: 2 * time.Second, Origin: "r",
				})
			}
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}

// line is the inverse of set.
func line(s upstream.Set) string {
	var parts []string
	for u := range s.All() {
		words := []string{u.Name + ":"}
		for _, srv := range u.Servers {
			ip := srv.Addr.Addr().As4()
			words = append(words, fmt.Sprint(ip[3]))
			if srv.Down {
				words = append(words, "down")
			}
		}
		for _, r := range u.Routes {
			words = append(words, r.Path)
		}
		parts = append(parts, strings.Join(words, " "))
	}
	return strings.Join(parts, ", ")
}

// first is the first of some holds, nil where there are none.
func first(holds []guard.Hold) *guard.Hold {
	if len(holds) == 0 {
		return nil
	}
	return &holds[0]
}
