package caddy

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/gateway"
)

// Examine reads Caddy's configuration once, and looks whether requests get as far as our place.
func (g *Gateway) Examine(ctx context.Context) (gateway.Examination, error) {
	x := gateway.Examination{Ask: "look at Caddy, and at address in the configuration"}
	s, err := g.look(ctx)
	if err != nil {
		return x, err
	}
	x.Upstreams = s.set.Names()
	if before, is := s.unreached(); is {
		x.Findings = append(x.Findings, finding.Finding{
			Check: "caddy-unreached", Severity: finding.Problem,
			What:   "No request gets as far as the route with the @id swallowkeeper: " + before + " takes all of them",
			Why:    "The routes and upstreams in it are never used.",
			Change: `Put {"@id": "swallowkeeper"} before that route, or give that route a match.`,
		})
	}
	return x, nil
}

// unreached finds a route that stands before our place and answers everything.
func (d *document) unreached() (before string, is bool) {
	if len(d.places) != 1 {
		return "", false
	}
	parts := strings.Split(d.places[0], "/") // "", config, apps, http, servers, NAME, routes, N
	if len(parts) != 8 {
		return "", false
	}
	ours, err := strconv.Atoi(parts[7])
	if err != nil {
		return "", false
	}
	for i, raw := range d.servers[parts[5]].Routes[:ours] {
		var r struct {
			Match    []json.RawMessage
			Handle   []struct{ Handler string }
			Terminal bool
		}
		if json.Unmarshal(raw, &r) != nil || len(r.Match) > 0 {
			continue
		}
		answers := slices.ContainsFunc(r.Handle, func(h struct{ Handler string }) bool {
			return slices.Contains([]string{"static_response", "reverse_proxy", "file_server"}, h.Handler)
		})
		if answers || r.Terminal {
			return strings.Join(parts[:7], "/") + "/" + strconv.Itoa(i), true
		}
	}
	return "", false
}
