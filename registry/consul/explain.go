package consul

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// Explain reads what is currently registered for an upstream, and tells for each instance which check, tag or rule puts
// it in or out. If a rule excludes the whole service, the finding has no address. No findings mean that nothing of this
// name is registered.
func (r *Registry) Explain(ctx context.Context, name string) ([]upstream.Finding, error) {
	c, err := r.endpoint.client(r.cfg, 1, r.grace)
	if err != nil {
		return nil, err
	}
	defer c.close()
	list, got, err := c.services(ctx, query{})
	if err != nil {
		return nil, during("read the list of services", err)
	}
	x := explanation{Registry: r, client: c, asked: name}
	for _, service := range x.contributors(list) {
		if rule := r.cfg.unwanted(service, list[service]); !rule.IsZero() {
			x.find("", false, rule, got.index)
			continue
		}
		if err := upstream.ValidName(service); err != nil { // such a name never becomes part of a query
			x.find("", false, reason.Of(err), got.index)
			continue
		}
		if err := x.service(ctx, service); err != nil {
			return nil, during("read the health of service "+safetext.Quote(service), err)
		}
	}
	slices.SortStableFunc(x.findings, func(a, b upstream.Finding) int { return strings.Compare(a.Addr, b.Addr) })
	return x.findings, nil
}

// explanation is an explanation being made.
type explanation struct {
	*Registry
	client   *client
	asked    string // name of the upstream
	findings []upstream.Finding
}

func (x *explanation) find(addr string, in bool, why reason.Reason, index uint64) {
	x.findings = append(x.findings, upstream.Finding{Addr: addr, In: in, Reason: why, Index: index})
}

// contributors returns the services that may have servers in the upstream: the one of its name, ignoring case, and
// those of which it is a canary. A service also explains its canaries.
func (x *explanation) contributors(list map[string][]string) []string {
	var names []string
	for service, tags := range list {
		isCanary := func(tag string) bool {
			value, ok := strings.CutPrefix(tag, x.cfg.CanaryTag+"=")
			return ok && upstream.SameName(service+"_"+value, x.asked)
		}
		if upstream.SameName(service, x.asked) || x.cfg.CanaryTag != "" && slices.ContainsFunc(tags, isCanary) {
			names = append(names, service)
		}
	}
	slices.Sort(names)
	return names
}

// service judges each instance by the rules that make upstreams.
func (x *explanation) service(ctx context.Context, name string) error {
	entries, got, err := x.client.instances(ctx, name, query{})
	if err != nil {
		return err
	}
	known := &hosts{resolve: x.resolve, known: map[string]addresses{}}
	conv := converter{cfg: &x.cfg, origin: x.name}
	if x.cfg.HostNames {
		conv.lookup = known.lookup(ctx, entries)
	}
	for _, e := range entries {
		list, out := conv.service(name, []*api.ServiceEntry{e})
		for _, o := range out {
			if o.Route == "" && upstream.SameName(o.Upstream, x.asked) {
				x.find(o.Addr, false, reason.Join(o.Reason, o.Detail()), got.index)
			}
		}
		for _, u := range list {
			for _, s := range u.Servers {
				switch {
				case upstream.SameName(u.Name, x.asked):
					x.find(s.Addr.String(), true, conv.why(e), got.index)
				case upstream.SameName(name, x.asked):
					x.find(s.Addr.String(), false, tagPutsThere.With(u.Name), got.index)
				}
			}
		}
	}
	if x.cfg.Filter == "" {
		return nil
	}
	return x.filtered(ctx, name, entries)
}

// filtered finds the instances that only the filter excludes.
func (x *explanation) filtered(ctx context.Context, name string, left []*api.ServiceEntry) error {
	cfg := x.cfg
	cfg.Filter = ""
	c, err := x.endpoint.client(cfg, 1, x.grace)
	if err != nil {
		return err
	}
	defer c.close()
	all, got, err := c.instances(ctx, name, query{})
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Service.Service == name && !slices.ContainsFunc(left, func(o *api.ServiceEntry) bool {
			return o.Node.Node == e.Node.Node && o.Service.ID == e.Service.ID
		}) {
			i := instance{entry: e}
			i.locate()
			x.find(i.shownAddr(), false, filteredOut.With(safetext.Quote(x.cfg.Filter)), got.index)
		}
	}
	return nil
}

// why returns what puts an instance in, and what makes its server special.
func (c converter) why(e *api.ServiceEntry) reason.Reason {
	reasons := c.checked(e)
	if canary, err := c.canary(e.Service.Tags); err == nil && canary != "" {
		reasons = append(reasons, tagPutsHere.With(safetext.Quote(c.cfg.CanaryTag+"="+canary)))
	}
	for _, tag := range e.Service.Tags {
		if glob, ok := matching(c.cfg.Tags, tag); ok {
			reasons = append(reasons, tagged.With(safetext.Quote(tag), safetext.Quote(glob)))
			break
		}
	}
	for _, key := range []string{metaWeight, metaMaxFails, metaFailTimeout, metaMaxConns, metaBackup} {
		if value, ok := e.Service.Meta[key]; ok {
			reasons = append(reasons, hasMeta.With(key, safetext.Quote(value)))
		}
	}
	if host := e.Service.Address; isHostName(host) {
		reasons = append(reasons, hasThisServer.With(safetext.Quote(host)))
	}
	return reason.Join(reasons...)
}

// checked describes its checks, its own before those of its node.
func (c converter) checked(e *api.ServiceEntry) (reasons []reason.Reason) {
	checks := slices.SortedFunc(slices.Values(e.Checks), func(a, b *api.HealthCheck) int {
		return cmp.Or(strings.Compare(b.ServiceID, a.ServiceID), strings.Compare(a.CheckID, b.CheckID))
	})
	var passing []string
	own := false
	for _, check := range checks {
		own = own || check.ServiceID != ""
		if check.Status != api.HealthPassing {
			reasons = append(reasons, taken.With(describeCheck(check, e.Node.Node), `"`+c.cfg.Health+`"`))
			continue
		}
		passing = append(passing, safetext.Quote(cmp.Or(check.Name, check.CheckID)))
	}
	const most = 3
	switch n := len(passing); {
	case n == 1:
		reasons = append(reasons, checkPasses.With(passing[0]))
	case n > most:
		reasons = append(reasons, moreChecksPass.With(strings.Join(passing[:most], ", "), n-most))
	case n > 1:
		reasons = append(reasons, checksPass.With(strings.Join(passing, ", ")))
	}
	if !own {
		reasons = append(reasons, noCheck.With())
	}
	return reasons
}
