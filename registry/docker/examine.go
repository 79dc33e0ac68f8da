package docker

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// Endpoint returns the engine's address if it uses tcp.
func (r *Registry) Endpoint() string {
	proto, addr, err := splitHost(r.cfg.host(os.Getenv))
	if err != nil || proto != "tcp" {
		return ""
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return ""
	}
	return addr
}

// look reads everything over a temporary connection.
func (r *Registry) look(ctx context.Context, all bool) (workloads []workload, services []service, err error) {
	e, err := r.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer e.close()
	manager := false
	if r.cfg.Swarm != swarmOff {
		if manager, err = manages(ctx, e); err != nil {
			return nil, nil, err
		}
	}
	if workloads, err = r.containers(ctx, e, manager, all); err != nil || !manager {
		return workloads, nil, err
	}
	services, err = r.services(ctx, e)
	return workloads, services, err
}

// Explain tells for each container of a service, including stopped ones, why it is in or out.
func (r *Registry) Explain(ctx context.Context, name string) ([]upstream.Finding, error) {
	workloads, services, err := r.look(ctx, true)
	if err != nil {
		return nil, err
	}
	var found []upstream.Finding
	for _, i := range r.judge(workloads, services) {
		if !upstream.SameName(i.Service, name) {
			continue
		}
		if i.ID == "" {
			if i.apart {
				found = append(found, upstream.Finding{Reason: i.Out})
			}
			continue
		}
		called := safetext.Quote(i.Container)
		f := upstream.Finding{Addr: i.addr(), In: i.Out.IsZero()}
		if f.In {
			f.Reason = reason.Join(runs.With(called), i.Note)
		} else {
			f.Reason = reason.Join(i.Out, isContainer.With(called))
		}
		found = append(found, f)
		for _, b := range i.Bad {
			found = append(found, upstream.Finding{Addr: i.addr(), In: f.In, Reason: reason.Join(reason.Of(b.Err), isContainer.With(called))})
		}
	}
	slices.SortStableFunc(found, func(a, b upstream.Finding) int { return strings.Compare(a.Addr, b.Addr) })
	return found, nil
}

// known are our labels, except those of routes.
var known = []string{"name", "port", "network", "weight", "enable"}

// Examine reads everything once, and looks for misspelt labels.
func (r *Registry) Examine(ctx context.Context) (registry.Examination, error) {
	workloads, services, err := r.look(ctx, false)
	if err != nil {
		return registry.Examination{}, err
	}
	x := registry.Examination{Set: r.set(r.judge(workloads, services))}
	for _, s := range services {
		workloads = append(workloads, s.base)
	}
	for _, w := range workloads {
		keys := make([]string, 0, len(w.labels))
		for key := range w.labels {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if f, is := misread(key, safetext.Quote(w.name)); is {
				x.Findings = append(x.Findings, f)
				break // one per container is enough
			}
		}
	}
	return x, nil
}

// misread returns a finding for a label that nobody reads.
func misread(key, of string) (finding.Finding, bool) {
	own, isOurs := strings.CutPrefix(key, ours)
	switch {
	case isOurs && !slices.Contains(known, own) && own != "route" && !strings.HasPrefix(own, "route."):
		return finding.Finding{
			Check: "docker-label", Severity: finding.Problem,
			What:   "Container " + of + " has the label " + safetext.Quote(key) + ", which means nothing",
			Why:    "What it should say does not happen.",
			Change: "Use swallowkeeper.name, .port, .network, .weight, .enable or .route.",
		}, true
	case strings.HasPrefix(key, "traefik.") || strings.HasPrefix(key, "caddy"):
		return finding.Finding{
			Check: "docker-foreign-label", Severity: finding.Warning,
			What:   "Container " + of + " has the label " + safetext.Quote(key) + ", which is not read",
			Why:    "Traefik's rules and Caddy's directives have no meaning here: the container gets the traffic that its own labels say.",
			Change: "Write swallowkeeper.name, swallowkeeper.port, and swallowkeeper.route=HOST/PATH/* instead.",
		}, true
	}
	return finding.Finding{}, false
}
