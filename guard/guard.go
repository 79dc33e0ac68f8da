// Package guard judges changes: what the registries list is accepted, narrowed or held, each with a
// reason. It judges each step and a window of time, all servers and each service, and remembers what it
// must in a [History], which stands in the conf file's header.
//
// It is pure: no clock, no log, no network. The same input gets the same decision. What the rules are for,
// and the cases that they were made for, stand in docs/guard.md.
package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"swallowkeeper/upstream"
)

// Rules that hold changes, by the names of their keys in the configuration.
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

// Rules lists the rules in the order in which they judge.
func Rules() []string {
	return []string{
		RuleMinServices, RuleMaxRemoval, RuleMaxRemovalWindow, RuleMaxServiceRemoval, RuleRecovery,
		RuleMaxUpstreams, RuleMaxServers, RuleMaxGrowth,
	}
}

// Input is what a decision is made of.
type Input struct {
	// Accepted is what is written now.
	Accepted upstream.Set
	// Seen is what the registries list.
	Seen upstream.Set
	// Frozen is how many upstreams of Seen have a usable server only because a person froze them: they say nothing of
	// the registries.
	Frozen int
	// Behind is what the registries list of an upstream, and whether a person froze it, so that Seen has it as it is
	// written. Nil where nothing is frozen.
	Behind func(name string) (listed upstream.Upstream, frozen bool)
	// Empty names the registries that list nothing usable while others do.
	Empty []string
	// Away says when registries were last away: they could not be read, or gave an older state than before.
	Away map[string]time.Time
	// Indexes are those of the registries' answers, where they count them: one that is lower than before comes of
	// a state that was lost or brought back.
	Indexes map[string]uint64
	// Approved is the ID of a hold that a person lets through.
	Approved string
	// Witness says what an address did when it was tried from here; nil where nothing is tried.
	Witness func(netip.AddrPort) Answer
	// Here reports whether an address is this machine's own: it answers also where there is no network. Nil where
	// none is.
	Here    func(netip.Addr) bool
	History History
	Now     time.Time
}

// Decision is what the guard says of an [Input].
type Decision struct {
	// Accepted may be written and pushed.
	Accepted upstream.Set
	// Out is what is registered and gets no traffic, or would get none if the guard did not keep it.
	Out []upstream.Out
	// Holds are the changes that may not go through, in the order of the rules.
	Holds []Hold
	// Released are the holds that end with this decision although their rule would go on.
	Released []Release
	// Ask lists the addresses of which the witness's word is wanted.
	Ask []netip.AddrPort
	// Again is after which time to decide again by itself; 0 is never.
	Again time.Duration
	// History is the account to carry on with.
	History History
}

// Hold is a change that the guard does not let through.
type Hold struct {
	ID       string // names exactly this change: another change has another
	Rule     string
	Upstream string // the one that is judged by itself; "" where all are judged together
	Reason   string // in words, with the figures
	Since    time.Time
	Removed  []ServerID // the servers that stay because of it
	KeptOut  []ServerID // the servers that do not get in because of it
	Of       int        // of so many servers
	// Alive and Dead are those of Removed that the witness reached, and that it did not; it tells nothing of the rest.
	Alive, Dead []ServerID
}

// Continued reports whether another hold goes on with this one: it is the same rule's, on the same upstream.
func (h Hold) Continued(by Hold) bool { return h.Rule == by.Rule && h.Upstream == by.Upstream }

// Reasons says why holds are, of many only of the first; "" where there are none.
func Reasons(holds []Hold) string {
	const most = 3
	var reasons []string
	for i, h := range holds {
		if i == most {
			reasons = append(reasons, fmt.Sprintf("and %d holds more", len(holds)-most))
			break
		}
		reasons = append(reasons, h.Reason)
	}
	return strings.Join(reasons, "; ")
}

// Approved reports whether the decision lets a hold through because a person approved it.
func (d Decision) Approved() bool {
	return slices.ContainsFunc(d.Released, func(r Release) bool { return r.By == ByApproval })
}

// Release says how a hold ended that its rule would have gone on with.
type Release struct {
	Hold Hold
	By   string // ByApproval, ByTime or ByProof
}

// Ways in which a hold is released.
const (
	ByApproval = "approval" // a person let exactly this change through
	ByTime     = "hold_for" // its time was up
	ByProof    = "proof"    // none of its servers accepts connections
)

// ServerID names one server of one upstream.
type ServerID struct {
	Upstream string
	Addr     netip.AddrPort
}

func (id ServerID) compare(o ServerID) int {
	if id.Upstream != o.Upstream {
		if id.Upstream < o.Upstream {
			return -1
		}
		return 1
	}
	return id.Addr.Compare(o.Addr)
}

// identify makes an ID that another change does not have.
func identify(rule string, change ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %v", rule, change))
	return hex.EncodeToString(sum[:6])
}
