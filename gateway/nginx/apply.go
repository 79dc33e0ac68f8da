package nginx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/upstream"
)

// Apply writes the wanted state as a new generation, and makes nginx load it with one reload. If nginx refuses the
// change of an upstream, the others are applied, and the error names it.
func (g *Gateway) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	if c.Empty() {
		return gateway.Receipt{}, nil
	}
	if err := ctx.Err(); err != nil {
		return gateway.Receipt{}, err
	}
	f, err := openFolder(g.config.Dir, true)
	if err != nil {
		return gateway.Receipt{}, err
	}
	defer f.close()
	n, err := f.current()
	if err != nil {
		return gateway.Receipt{}, err
	}
	base := g.kept
	if n == 0 || base.n != n || f.digest(n) != base.digest {
		if base, err = f.read(n); err != nil {
			return gateway.Receipt{}, err
		}
	}
	base.set = g.complete(base.set)
	a := attempt{folder: f, servers: g.config.Servers, base: base, changes: c}
	if err := a.render(target(base.set, c)); err != nil {
		return gateway.Receipt{}, err
	}
	if receipt, done, err := g.already(ctx, &a); done {
		g.tell(&a, err)
		return receipt, err
	}
	if err := g.mayReload(ctx); err != nil {
		return gateway.Receipt{}, err
	}
	if err := g.place(ctx, &a); err != nil {
		return gateway.Receipt{}, err
	}
	receipt, err := g.load(ctx, &a)
	g.tell(&a, err)
	g.kept, g.swept = a.placed, false
	return receipt, errors.Join(append(a.refused, err)...)
}

// tell records the wanted servers if another gateway sends them to nginx.
func (g *Gateway) tell(a *attempt, err error) {
	if err == nil {
		g.told = &a.want.set
	}
}

// target returns the state after the changes: the wanted upstreams, and existing ones that are not removed.
func target(base upstream.Set, c upstream.Changes) upstream.Set {
	put := slices.Collect(c.Want.All())
	for _, u := range c.Updated {
		put = append(put, u.New)
	}
	var drop []string
	for _, u := range c.Removed {
		if _, wanted := c.Want.Get(u.Name); !wanted {
			drop = append(drop, u.Name)
		}
	}
	return base.With(append(put, c.Added...), drop)
}

// attempt is an Apply in progress.
type attempt struct {
	folder  *folder
	servers string
	base    generation // where the link pointed before
	changes upstream.Changes

	want    rendered
	placed  generation // where it points now
	refused []error    // changes that nginx refused, one per upstream
}

// refusal is an error about one upstream.
type refusal struct {
	name string
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() error { return r.err }

// render renders a set. An upstream that can't be rendered stays as it was.
func (a *attempt) render(set upstream.Set) error {
	for {
		r, err := render(set, a.servers)
		if err == nil {
			a.want = r
			return nil
		}
		var one *refusal
		if !errors.As(err, &one) {
			return err
		}
		a.refused = append(a.refused, one)
		set = a.without(set, one.name)
	}
}

// without returns the set with one upstream as it was before, if that can be loaded.
func (a *attempt) without(set upstream.Set, name string) upstream.Set {
	before, was := a.base.set.Get(name)
	if now, is := set.Get(name); !was || is && now.Identical(before) {
		return set.Without([]string{name})
	}
	return set.With([]upstream.Upstream{before}, nil)
}

// changed reports whether the changes include an upstream.
func (a *attempt) changed(name string) bool {
	return slices.ContainsFunc(a.names(), func(n string) bool { return upstream.SameName(n, name) })
}

// names returns the names of all upstreams to change.
func (a *attempt) names() []string {
	var all []string
	for _, u := range slices.Concat(a.changes.Added, a.changes.Removed) {
		all = append(all, u.Name)
	}
	for _, u := range a.changes.Updated {
		all = append(all, u.New.Name)
	}
	slices.Sort(all)
	return all
}

// named lists a few of them for an error.
func (a *attempt) named() string {
	const most = 5
	all := a.names()
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}

// already reports whether there is nothing left to write and load, or another reload would fail in the same way.
func (g *Gateway) already(ctx context.Context, a *attempt) (gateway.Receipt, bool, error) {
	if !a.base.whole || a.base.n == 0 || a.want.digest != a.base.digest {
		return gateway.Receipt{}, false, nil
	}
	before := g.alive
	seen, err := g.look(ctx)
	if err != nil {
		return gateway.Receipt{}, true, err
	}
	if len(seen.digests) == 1 && seen.digests[0] == a.base.digest && g.settled(ctx, a.base.digest, before) {
		return gateway.Receipt{Workers: seen.workers, Unsettled: seen.unsettled}, true, errors.Join(a.refused...)
	}
	if g.futile.again(a.base.digest, g.alive) && slices.Contains(seen.digests, "") {
		return gateway.Receipt{}, true, g.futile.err
	}
	return gateway.Receipt{}, false, nil
}

// settled reports whether no worker from before still answers as before. While somebody else reloads nginx, a few answers
// prove nothing, nor does that no old one comes for a while: nginx may be slow to tell its workers.
func (g *Gateway) settled(ctx context.Context, digest string, before []int) bool {
	if before == nil || slices.Equal(before, g.alive) {
		return true
	}
	old := make([]nginxproc.Worker, len(before))
	for i, pid := range before {
		old[i].PID = pid
	}
	_, err := g.verify(ctx, newProof(digest, old))
	return err == nil
}

// futile is a reload after which nginx still had no generation of ours: the location that returns it is not included in
// the server that is asked. Only a change of nginx's own configuration helps.
type futile struct {
	digest string
	alive  []int // the workers after it; nil if unknown
	at     time.Time
	err    error
}

// again reports whether another reload would be as futile: nginx was not reloaded since, or only recently.
func (f *futile) again(digest string, alive []int) bool {
	if f.err == nil || f.digest != digest {
		return false
	}
	return len(alive) > 0 && slices.Equal(alive, f.alive) || len(alive) == 0 && time.Since(f.at) < time.Minute
}

// place writes the wanted state, switches the link to it, and lets nginx test it. On failure, it switches the link
// back.
func (g *Gateway) place(ctx context.Context, a *attempt) error {
	for {
		a.placed = a.base
		if !a.base.whole || a.base.n == 0 || a.want.digest != a.base.digest {
			placed, err := a.folder.write(a.want, a.base)
			if err != nil {
				return err
			}
			a.placed = placed
		}
		err := a.folder.point(a.placed.n)
		if err == nil {
			err = g.check(ctx, a)
		}
		if err == nil {
			return nil
		}
		if back := a.back(); back != nil {
			return errors.Join(err, back)
		}
		var one *refusal
		if !errors.As(err, &one) || slices.ContainsFunc(a.refused, func(e error) bool { return e.Error() == err.Error() }) {
			return errors.Join(append(a.refused, err)...)
		}
		a.refused = append(a.refused, one)
		if err := a.render(a.without(a.want.set, one.name)); err != nil {
			return err
		}
		if a.want.set.Equal(a.base.set) { // nothing is left of these changes, but earlier ones may be pending
			seen, err := g.look(ctx)
			if err != nil || len(seen.digests) == 1 && seen.digests[0] == a.base.digest {
				return errors.Join(append(a.refused, err)...)
			}
		}
	}
}

// back switches the link back, and removes what nginx has not seen.
func (a *attempt) back() error {
	if a.placed.n == a.base.n {
		return nil
	}
	if err := a.folder.point(a.base.n); err != nil {
		return err
	}
	return a.folder.root.RemoveAll(nameOf(a.placed.n))
}
