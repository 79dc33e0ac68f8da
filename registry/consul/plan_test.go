package consul

import (
	"fmt"
	"testing"
)

// TestDecide is the table of which way is taken when.
func TestDecide(t *testing.T) {
	few := func(n int) room { return room{connections: n, watches: n} }
	for _, test := range []struct {
		name            string
		room            room
		services, nodes int
		want            plan
	}{
		{"HTTP/2, few", room{http2: true}, 200, -1, plan{way: each, watches: 200}},
		{"HTTP/2, many", room{http2: true}, 201, 3, plan{way: byIndex, readers: 8}},
		{"HTTP/2, very many", room{connections: ramp, http2: true}, 5000, -1, plan{way: byIndex, readers: 8}},
		{"HTTP/2 by a proxy", room{connections: ramp}, 5000, -1, plan{way: each, watches: 5000}},
		{"a connection for each and the list", few(160), 159, -1, plan{way: each, watches: 159}},
		{"one too many, nodes unknown", few(160), 160, -1, plan{way: bySearch, watches: 150, readers: 8}},
		{"one too many, on one node", few(160), 160, 1, plan{way: byNode, watches: 148, readers: 8}},
		{"far too many, on 10 nodes", few(160), 5000, 10, plan{way: byNode, watches: 139, readers: 8}},
		{"as many nodes as connections are left", few(160), 1000, 149, plan{way: byNode, watches: 0, readers: 8}},
		{"one node more than that", few(160), 1000, 150, plan{way: bySearch, watches: 150, readers: 8}},
		{"a thousand nodes", few(160), 1000, 1000, plan{way: bySearch, watches: 150, readers: 8}},
		{"no nodes at all", few(160), 1000, 0, plan{way: bySearch, watches: 150, readers: 8}},
		{"hardly any connections", few(4), 3, 1, plan{way: each, watches: 3}},
		{"hardly any, and one service more", few(4), 4, 1, plan{way: bySearch, watches: 1, readers: 1}},
		{"the least there is", few(3), 100, 1, plan{way: bySearch, watches: 0, readers: 1}},
		{"few", few(10), 100, 3, plan{way: byNode, watches: 3, readers: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := decide(test.room, test.services, test.nodes)
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	for limit := 3; limit < 400; limit++ {
		for _, nodes := range []int{-1, 0, 1, 5, 50, 150, 1000} {
			p := decide(few(limit), 1000, nodes)
			used := 1 + p.watches
			switch p.way {
			case byNode:
				used += 2 + nodes + p.readers
			case bySearch:
				used += 1 + p.readers
			}
			if used > limit || p.watches < 0 {
				t.Errorf("%d connections, %d nodes: %s uses %d", limit, nodes, fmt.Sprintf("%+v", p), used)
			}
		}
	}
}
