package status_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

func TestCauses(t *testing.T) {
	serf, gone := reason.Text("check serfHealth is critical"), reason.Text("deregistered")
	early, late := time.Unix(1000, 0), time.Unix(2000, 0)
	going := func(n int, upstreams int, g status.Going) []status.Going {
		var all []status.Going
		for i := range n {
			g.Upstream = fmt.Sprintf("u%d", i%upstreams)
			all = append(all, g)
		}
		return all
	}
	on := func(hosts ...string) []status.Going {
		var all []status.Going
		for _, h := range hosts {
			all = append(all, status.Going{Upstream: "web", Addr: h, Reason: gone})
		}
		return all
	}
	for name, c := range map[string]struct {
		going []status.Going
		want  []status.Cause
	}{
		"nothing": {nil, nil},
		"one node": {
			going(286, 20, status.Going{Addr: "10.0.0.7:80", Reason: serf, Node: "edge-7", Since: early}),
			[]status.Cause{{Reason: serf, Node: "edge-7", Nodes: 1, Servers: 286, Upstreams: 20, Since: early}},
		},
		"the address where no node is named": {
			on("10.0.0.7:80", "10.0.0.7:81"),
			[]status.Cause{{Reason: gone, Node: "10.0.0.7", Nodes: 1, Servers: 2, Upstreams: 1}},
		},
		"two nodes are two causes, the larger first": {
			on("10.0.0.8:80", "[fe80::1]:80", "[fe80::1]:81"),
			[]status.Cause{
				{Reason: gone, Node: "fe80::1", Nodes: 1, Servers: 2, Upstreams: 1},
				{Reason: gone, Node: "10.0.0.8", Nodes: 1, Servers: 1, Upstreams: 1},
			},
		},
		"many nodes are one": {
			on("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.4:81"),
			[]status.Cause{{Reason: gone, Nodes: 4, Servers: 5, Upstreams: 1}},
		},
		"each reason by itself, since the first": {
			slices.Concat(
				going(1, 1, status.Going{Addr: "a:1", Reason: serf, Node: "n", Since: late}),
				going(2, 2, status.Going{Addr: "a:1", Reason: serf, Node: "n"}),
				going(1, 1, status.Going{Addr: "a:1", Reason: serf, Node: "n", Since: early}),
				going(1, 1, status.Going{Addr: "a:1", Reason: gone, Node: "n", Since: late}),
			),
			[]status.Cause{
				{Reason: serf, Node: "n", Nodes: 1, Servers: 4, Upstreams: 2, Since: early},
				{Reason: gone, Node: "n", Nodes: 1, Servers: 1, Upstreams: 1, Since: late},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := status.Causes(c.going); !slices.Equal(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestEffects(t *testing.T) {
	serving := map[string]int{"cart": 2, "web": 10, "login": 4, "shop": 4}
	var held []status.HeldServer
	for name, n := range map[string]int{"web": 1, "cart": 2, "login": 2, "shop": 2, "unknown": 1} {
		for range n {
			held = append(held, status.HeldServer{Upstream: name})
		}
	}
	got := status.Effects(held, func(name string) int { return serving[name] })
	want := []status.Effect{{"cart", 2, 0}, {"unknown", 0, 0}, {"login", 4, 2}, {"shop", 4, 2}, {"web", 10, 9}}
	slices.SortStableFunc(got[:2], func(a, b status.Effect) int { return b.From - a.From })
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
