package status

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"time"

	"swallowkeeper/reason"
)

// Cause is what servers of a hold have in common: why they would be removed, and where they run.
type Cause struct {
	Reason  reason.Reason `json:"reason"`
	Code    string        `json:"code,omitempty"` // of the reason
	Node    string        `json:"node,omitempty"` // set if all run on one node: its name in the registry, else its address
	Nodes   int           `json:"nodes"`          // number of nodes
	Servers int           `json:"servers"`
	// Upstreams is how many upstreams have any of them.
	Upstreams int       `json:"upstreams"`
	Since     time.Time `json:"since"` // of the first; zero if unknown
}

// Effect is how many servers an upstream has in traffic, and how many it would have without those that a hold keeps.
type Effect struct {
	Upstream string `json:"upstream"`
	From     int    `json:"from"`
	To       int    `json:"to"`
}

// Going is a server that a hold keeps, and why it would be removed.
type Going struct {
	Upstream, Addr string
	Reason         reason.Reason
	Node           string // "" if the registry names none
	Since          time.Time
}

// fewNodes is the number of nodes up to which each is a cause of its own. The same reason on more nodes is one cause.
const fewNodes = 3

// Causes groups the servers of a hold by why they would be removed, largest group first.
func Causes(all []Going) []Cause {
	type key struct {
		why  reason.Reason
		node string
	}
	nodes := map[reason.Reason]map[string]bool{}
	for i := range all {
		g := &all[i]
		if nodes[g.Reason] == nil {
			nodes[g.Reason] = map[string]bool{}
		}
		nodes[g.Reason][g.node()] = true
	}
	at := map[key]int{}
	var causes []Cause
	var upstreams []map[string]bool
	for i := range all {
		g := &all[i]
		k := key{why: g.Reason}
		on := len(nodes[g.Reason])
		if on <= fewNodes {
			k.node, on = g.node(), 1
		}
		n, there := at[k]
		if !there {
			n = len(causes)
			at[k] = n
			causes = append(causes, Cause{Reason: g.Reason, Code: g.Reason.Code(), Node: k.node, Nodes: on, Since: g.Since})
			upstreams = append(upstreams, map[string]bool{})
		}
		c := &causes[n]
		c.Servers++
		upstreams[n][g.Upstream] = true
		c.Upstreams = len(upstreams[n])
		if !g.Since.IsZero() && (c.Since.IsZero() || g.Since.Before(c.Since)) {
			c.Since = g.Since
		}
	}
	slices.SortStableFunc(causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Servers, a.Servers), a.Reason.Compare(b.Reason), strings.Compare(a.Node, b.Node))
	})
	return causes
}

// node returns where the server runs, as far as known.
func (g *Going) node() string {
	if g.Node != "" {
		return g.Node
	}
	if host, _, err := net.SplitHostPort(g.Addr); err == nil {
		return host
	}
	return g.Addr
}

// Effects returns what removing a hold's servers would do to their upstreams: first those left without a server, then
// by the share removed. serving returns how many servers of an upstream receive traffic.
func Effects(held []HeldServer, serving func(upstream string) int) []Effect {
	at := map[string]int{}
	var effects []Effect
	for _, s := range held {
		n, there := at[s.Upstream]
		if !there {
			n = len(effects)
			at[s.Upstream] = n
			from := serving(s.Upstream)
			effects = append(effects, Effect{s.Upstream, from, from})
		}
		effects[n].To = max(0, effects[n].To-1)
	}
	slices.SortStableFunc(effects, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.To*max(1, b.From), b.To*max(1, a.From)), cmp.Compare(b.From-b.To, a.From-a.To), strings.Compare(a.Upstream, b.Upstream))
	})
	return effects
}
