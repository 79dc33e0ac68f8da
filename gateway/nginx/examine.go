package nginx

import (
	"context"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/gateway"
)

// Examine asks nginx once for its generation.
func (g *Gateway) Examine(ctx context.Context) (gateway.Examination, error) {
	x := gateway.Examination{
		Folder: g.config.Dir,
		Ask:    "curl -sik " + g.config.Verify + "   # look at nginx, and at verify in the configuration",
	}
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	t := g.asker.ask(ctx)
	if t.err != nil {
		return x, t.err
	}
	if t.digest == "" {
		x.Findings = append(x.Findings, finding.Finding{
			Check: "generation-unknown", Severity: finding.Problem,
			What: "nginx does not say which generation it has: " + g.config.Verify + " answers " + t.other,
			Why:  "No reload can be proven to have led to anything, so the gateway is never in sync.",
			Change: "include " + strings.TrimSuffix(g.config.Dir, "/") + "/current/*.location.conf;   # in the server of " + g.asker.host() +
				", then nginx -s reload",
		})
	}
	return x, nil
}
