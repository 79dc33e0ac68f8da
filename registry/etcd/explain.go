package etcd

import (
	"context"
	"strings"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// read reads all keys once into a new table. If a watch is running, values that can't be parsed keep their last meaning
// from it.
func (r *Registry) read(ctx context.Context) (*table, header, error) {
	c, err := r.cfg.connect(ctx, r.budget)
	if err != nil {
		return nil, header{}, err
	}
	defer c.close()
	t := newTable(&r.cfg, r.name, r.defaults)
	head, err := c.list(ctx, t.put)
	if err != nil {
		return nil, header{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.table == nil {
		return t, head, nil
	}
	for key, e := range t.entries {
		if was := r.table.entries[key]; e.why != nil && was != nil && was.known {
			e.known, e.marker, e.server, e.down, e.routes, e.bad = true, was.marker, was.server, was.down, was.routes, was.bad
		}
	}
	return t, head, nil
}

// Explain tells for each key of an upstream why its instance is in or out. A rule that excludes the service has no
// address.
func (r *Registry) Explain(ctx context.Context, name string) ([]upstream.Finding, error) {
	t, head, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	var found []upstream.Finding
	find := func(addr string, in bool, why reason.Reason) {
		found = append(found, upstream.Finding{Addr: addr, In: in, Reason: why, Index: uint64(max(head.revision, 0))}) //nolint:gosec // not negative
	}
	for service, entries := range t.services {
		if !upstream.SameName(service, name) {
			continue
		}
		if why := r.cfg.unwanted(service); !why.IsZero() {
			find("", false, why)
			continue
		}
		if err := upstream.ValidName(service); err != nil {
			find("", false, reason.Of(err))
			continue
		}
		for _, e := range ordered(entries) {
			switch {
			case e.serves() && e.why != nil:
				find(e.server.Addr.String(), true, lastStays.With(e.shown(), e.server.Addr, e.why))
			case e.serves():
				find(e.server.Addr.String(), true, inKey.With(e.shown()))
			default:
				for _, o := range e.outs(service) {
					if o.Route == "" {
						find(o.Addr, false, o.Reason)
					}
				}
			}
		}
	}
	return found, nil
}

// Examine reads all keys once, and returns what is set up wrong.
func (r *Registry) Examine(ctx context.Context) (registry.Examination, error) {
	t, _, err := r.read(ctx)
	if err != nil {
		return registry.Examination{}, err
	}
	return registry.Examination{Set: t.set(), Findings: t.findings()}, nil
}

// mostPlaces is the maximum number of keys in a finding.
const mostPlaces = 10

func (t *table) findings() (found []finding.Finding) {
	var foreign, broken, bare []string
	for _, key := range sortedKeys(t.foreign) {
		foreign = append(foreign, shownKey(key))
	}
	for _, e := range ordered(t.entries) {
		switch {
		case e.why != nil:
			broken = append(broken, e.shown()+": "+e.why.Error())
		case e.wanted && !e.leased && !e.marker:
			bare = append(bare, e.shown())
		}
	}
	add := func(f finding.Finding, what string, places []string) {
		if n := len(places); n > 0 {
			f.Severity, f.What, f.Places = finding.Warning, strings.Replace(what, "{keys}", finding.Many(n, "key"), 1), places[:min(n, mostPlaces)]
			found = append(found, f)
		}
	}
	add(finding.Finding{
		Check: "etcd-keys", Why: "They are left out.",
		Change: "Give the prefix and the layout that the keys are written in, or delete them: etcdctl del KEY",
	}, "The layout "+t.cfg.Layout+" has no place for {keys} under "+t.cfg.keys(), foreign)
	add(finding.Finding{
		Check: "etcd-values", Why: "Such an instance is out, or stays as it was when it was understood last.",
		Change: "etcdctl get KEY, and write it as docs/registry-etcd.md says",
	}, "No value that is understood under {keys}", broken)
	add(finding.Finding{
		Check: "etcd-lease", Why: "A key without a lease stays when its instance dies, and the instance keeps its traffic.",
		Change: "etcdctl lease grant 15, then etcdctl put --lease=ID KEY VALUE, and etcdctl lease keep-alive ID; or let swallowkeeper agent write them",
	}, "No lease on {keys}", bare)
	return found
}

func shownKey(key string) string { return safetext.Quote(safetext.Cut(key, mostText)) }
