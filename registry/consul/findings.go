package consul

import (
	"fmt"
	"maps"
	"slices"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
)

// findings returns what is set up wrong. asked is the configured number of connections, 0 for none.
func (x examination) findings(asked int) []finding.Finding {
	if x.filtered != nil {
		return []finding.Finding{{
			Check: "token", Severity: finding.Problem,
			What: "The token reads too little: " + safetext.Cut(safetext.Words(x.filtered.Error()), 300),
			Why: "A list that is cut looks like services that are gone. It is not believed, so " +
				"nothing changes in nginx any more.",
			Change: `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } ` +
				`agent_prefix "" { policy = "read" }` +
				"   # the token's policy; then token_file = \"…\" in [[registry]]",
		}}
	}
	return append(x.fewConnections(asked), x.noChecks()...)
}

func (x examination) fewConnections(asked int) (list []finding.Finding) {
	tells := ""
	if x.guessed {
		tells = " (its default: the token may not read what it is set to)"
	}
	if asked > x.most && x.most > 0 && !x.guessed {
		list = append(list, finding.Finding{
			Check: "connections", Severity: finding.Problem,
			Now: fmt.Sprintf("connections = %d", asked),
			What: fmt.Sprintf("Consul takes %d connections from one address, swallowkeeper is "+
				"told to open up to %d", x.most, asked),
			Why:    "Consul refuses the rest with 429: services whose queries it refuses are not watched.",
			Change: "connections = 0   # it asks Consul",
		})
	}
	if x.unwatched > 0 {
		list = append(list, finding.Finding{
			Check: "connections", Severity: finding.Warning,
			What: fmt.Sprintf("Consul takes %d connections from one address%s: %d of %s have no "+
				"query of their own",
				x.most, tells, x.unwatched, finding.Many(x.services, "service")),
			Why: "Their changes are found " + map[way]string{
				byNode:   "by a query for each node, whose list is then read",
				bySearch: "by asking one after the other for its index",
			}[x.way] + ", which takes longer; other programs that keep a connection a service " +
				"(consul-template, upsync) do not come up at all beside this.",
			Change: fmt.Sprintf("limits { http_max_conns_per_client = %d }   # in Consul's "+
				"configuration; or an https address, "+
				"where one connection carries all", x.enough),
		})
	}
	return list
}

// noChecks names the services that have instances without checks.
func (x examination) noChecks() []finding.Finding {
	by := map[string][]bare{}
	for _, b := range x.bare {
		by[b.service] = append(by[b.service], b)
	}
	if len(by) == 0 {
		return nil
	}
	f := finding.Finding{
		Check: "no-check", Severity: finding.Warning,
		What: finding.Many(len(by), "service") + " have instances without a check of their own",
		Why: "Consul takes an instance without a check for healthy as long as its node is: one " +
			"that died keeps its traffic.",
		Change: `"check": {"http": "http://ADDRESS:PORT/health", "interval": "5s", "timeout": "2s"}` +
			"   # in its registration; \"tcp\": \"ADDRESS:PORT\" where it speaks no HTTP",
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		first := by[name][0]
		which := fmt.Sprintf("%s at %s on node %s", finding.Show(first.id), safetext.Quote(first.addr), finding.Show(first.node))
		if more := len(by[name]) - 1; more > 0 {
			which += fmt.Sprintf(", and %d more", more)
		}
		if len(by) == 1 {
			f.What = fmt.Sprintf("Service %s has %s without a check of its own: %s", finding.Show(name),
				finding.Many(len(by[name]), "instance"), which)
			break
		}
		f.Places = append(f.Places, "service "+finding.Show(name)+": "+which)
	}
	return []finding.Finding{f}
}
