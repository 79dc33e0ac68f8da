package consul

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// Explain reads now what is registered for one upstream, and says of each instance by which
// check, tag or rule it is in or out. Where a rule leaves a whole service out the finding has
// no address. No finding means that nothing of this name is registered.
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
		if rule := r.cfg.unwanted(service, list[service]); rule != "" {
			x.find("", false, rule, got.index)
			continue
		}
		if err := upstream.ValidName(service); err != nil { // it never becomes part of a query
			x.find("", false, err.Error(), got.index)
			continue
		}
		if err := x.service(ctx, service); err != nil {
			return nil, during("read the health of service "+safetext.Quote(service), err)
		}
	}
	slices.SortStableFunc(x.findings, func(a, b upstream.Finding) int { return strings.Compare(a.Addr, b.Addr) })
	return x.findings, nil
}

// explanation is one in the making.
type explanation struct {
	*Registry
	client   *client
	asked    string // the upstream
	findings []upstream.Finding
}

func (x *explanation) find(addr string, in bool, reason string, index uint64) {
	x.findings = append(x.findings, upstream.Finding{Addr: addr, In: in, Reason: reason, Index: index})
}

// contributors are the services that may have servers in the upstream: the one of its name,
// whatever its case, and those of which it is a canary. The service itself shows its canaries.
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

// service judges each instance by itself with the rules that make upstreams of them all.
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
			if upstream.SameName(o.Upstream, x.asked) {
				x.find(o.Addr, false, joined(o.Reason, o.Detail()), got.index)
			}
		}
		for _, u := range list {
			for _, s := range u.Servers {
				switch {
				case upstream.SameName(u.Name, x.asked):
					x.find(s.Addr.String(), true, conv.why(e), got.index)
				case upstream.SameName(name, x.asked):
					x.find(s.Addr.String(), false, "its tag puts it into upstream "+u.Name, got.index)
				}
			}
		}
	}
	if x.cfg.Filter == "" {
		return nil
	}
	return x.filtered(ctx, name, entries)
}

// joined has one reason after the other.
func joined(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(r string) bool { return r == "" }), "; ")
}

// filtered finds the instances that only the filter leaves out.
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
			x.find(i.shownAddr(), false, "the filter "+safetext.Quote(x.cfg.Filter)+" leaves it out", got.index)
		}
	}
	return nil
}

// why says by what an instance that is in is in, and what makes its server differ.
func (c converter) why(e *api.ServiceEntry) string {
	reasons := c.checked(e)
	if canary, err := c.canary(e.Service.Tags); err == nil && canary != "" {
		reasons = append(reasons, "tag "+safetext.Quote(c.cfg.CanaryTag+"="+canary)+" puts it here")
	}
	for _, tag := range e.Service.Tags {
		if glob, ok := matching(c.cfg.Tags, tag); ok {
			reasons = append(reasons, "tag "+safetext.Quote(tag)+" is wanted by tags "+safetext.Quote(glob))
			break
		}
	}
	for _, key := range []string{metaWeight, metaMaxFails, metaFailTimeout, metaMaxConns, metaBackup} {
		if value, ok := e.Service.Meta[key]; ok {
			reasons = append(reasons, "meta "+key+" = "+safetext.Quote(value))
		}
	}
	if host := e.Service.Address; isHostName(host) {
		reasons = append(reasons, safetext.Quote(host)+" has this address")
	}
	return strings.Join(reasons, "; ")
}

// checked says what its checks are, its own before those of its node.
func (c converter) checked(e *api.ServiceEntry) (reasons []string) {
	checks := slices.SortedFunc(slices.Values(e.Checks), func(a, b *api.HealthCheck) int {
		return cmp.Or(strings.Compare(b.ServiceID, a.ServiceID), strings.Compare(a.CheckID, b.CheckID))
	})
	var passing []string
	own := false
	for _, check := range checks {
		own = own || check.ServiceID != ""
		if check.Status != api.HealthPassing {
			reasons = append(reasons, describeCheck(check, e.Node.Node)+`, which health = "`+c.cfg.Health+`" takes`)
			continue
		}
		passing = append(passing, safetext.Quote(cmp.Or(check.Name, check.CheckID)))
	}
	const most = 3
	switch n := len(passing); {
	case n == 1:
		reasons = append(reasons, "check "+passing[0]+" is passing")
	case n > most:
		reasons = append(reasons, fmt.Sprintf("checks %s and %d more are passing", strings.Join(passing[:most], ", "), n-most))
	case n > 1:
		reasons = append(reasons, "checks "+strings.Join(passing, ", ")+" are passing")
	}
	if !own {
		reasons = append(reasons, "it has no check of its own")
	}
	return reasons
}
