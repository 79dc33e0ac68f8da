// Package guard judges changes: it accepts, narrows or holds what the registries list, and gives a reason for each
// hold. It judges each step and a time window, all servers together and each service by itself. What it must remember
// is in a [History], which is stored in the conf file's header.
//
// The package is pure: no clock, no log, no network. The same input gives the same decision. docs/guard.md explains
// the rules and the cases behind them.
package guard

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// The rules that hold changes, named after their configuration keys.
const (
	RuleMinServices       = "min_services"
	RuleMaxRemoval        = "max_removal"
	RuleMaxRemovalWindow  = "max_removal_window"
	RuleMaxServiceRemoval = "max_service_removal"
	RuleRecovery          = "recovery"
	RuleMaxGrowth         = "max_growth"
	RuleMaxUpstreams      = "max_upstreams"
	RuleMaxServers        = "max_servers"
)

// Rules returns the rules in the order in which they are applied.
func Rules() []string {
	return []string{
		RuleMinServices, RuleMaxRemoval, RuleMaxRemovalWindow, RuleMaxServiceRemoval, RuleRecovery,
		RuleMaxUpstreams, RuleMaxServers, RuleMaxGrowth,
	}
}

// Input is what a decision depends on.
type Input struct {
	// Accepted is the set that is written now.
	Accepted upstream.Set
	// Seen is the set that the registries list.
	Seen upstream.Set
	// Frozen is the number of upstreams in Seen that have a usable server only because they are frozen. They are no
	// evidence about the registries.
	Frozen int
	// Behind returns what the registries list for an upstream, and whether the upstream is frozen, in which case Seen
	// has it as written. Behind is nil if nothing is frozen.
	Behind func(name string) (listed upstream.Upstream, frozen bool)
	// Empty names the registries that list nothing usable while others do.
	Empty []string
	// Away is when each registry was last unavailable: unreadable, or with an older state than before.
	Away map[string]time.Time
	// Indexes are the indexes of the registries' answers, for those that have them. A lower index than before means
	// that the registry lost or restored its state.
	Indexes map[string]uint64
	// Approved is the ID of a hold that an operator approved.
	Approved string
	// Witness returns the result of the last attempt to connect to an address; nil if there is no witness.
	Witness func(netip.AddrPort) Answer
	// Here reports whether an address belongs to this machine. Such an address answers even if the network is down.
	// Here is nil if no address does.
	Here    func(netip.Addr) bool
	History History
	Now     time.Time
}

// Decision is the guard's verdict on an [Input].
type Decision struct {
	// Accepted may be written and pushed.
	Accepted upstream.Set
	// Out has the notes on what is registered but gets no traffic, or would get none if the guard did not keep it.
	Out upstream.Outs
	// Holds are the changes that are held, in the order of the rules.
	Holds []Hold
	// Released are the holds that end with this decision although their rule still applies.
	Released []Release
	// Ask lists the addresses that the witness should try.
	Ask []netip.AddrPort
	// Again is the delay after which to decide again without new input; 0 means never.
	Again time.Duration
	// History is the input for the next decision.
	History History
}

// Hold is a change that the guard holds back.
type Hold struct {
	ID       string // identifies this exact change
	Rule     string
	Upstream string        // the upstream that is judged by itself; "" if all are judged together
	Reason   reason.Reason // with the figures
	Since    time.Time
	Removed  []ServerID // the servers that the hold keeps
	KeptOut  []ServerID // the servers that the hold keeps out
	Of       int        // the number of servers that the rule counted
	// Routes are the routes that the hold keeps.
	Routes []RouteID
	// Alive and Dead are the servers of Removed that the witness found alive or dead. The rest are unknown.
	Alive, Dead []ServerID
}

// Continued reports whether by continues h: it is a hold of the same rule on the same upstream, and both are on
// servers or both on routes.
func (h Hold) Continued(by Hold) bool {
	return h.Rule == by.Rule && h.Upstream == by.Upstream && (len(h.Routes) > 0) == (len(by.Routes) > 0)
}

// Reasons joins the reasons of the first few holds, and returns the zero Reason if there are no holds.
func Reasons(holds []Hold) reason.Reason {
	const most = 3
	var reasons []reason.Reason
	for i, h := range holds {
		if i == most {
			reasons = append(reasons, moreHolds.With(len(holds)-most))
			break
		}
		reasons = append(reasons, h.Reason)
	}
	return reason.Join(reasons...)
}

// Approved reports whether the decision releases a hold because it was approved.
func (d Decision) Approved() bool {
	return slices.ContainsFunc(d.Released, func(r Release) bool { return r.By == ByApproval })
}

// Release is a hold that ended although its rule still applied.
type Release struct {
	Hold Hold
	By   string // ByApproval, ByTime or ByProof
}

// Ways in which a hold is released.
const (
	ByApproval = "approval" // an operator approved exactly this change
	ByTime     = "hold_for" // hold_for has passed
	ByProof    = "proof"    // none of its servers accepts connections
)

// ServerID identifies a server of an upstream.
type ServerID struct {
	Upstream string
	Addr     netip.AddrPort
}

func (id ServerID) compare(o ServerID) int {
	return cmp.Or(upstream.CompareNames(id.Upstream, o.Upstream), cmp.Compare(id.Upstream, o.Upstream), id.Addr.Compare(o.Addr))
}

// identify returns an ID that is unique to the change.
func identify(rule string, change ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", rule, change))
	return hex.EncodeToString(sum[:6])
}
