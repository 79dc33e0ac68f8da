package gatewaytest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

// user uses a gateway like the syncer does.
type user struct {
	t *testing.T
	h Harness
	g gateway.Gateway
}

func begin(t *testing.T, h Harness) user {
	t.Helper()
	return user{t: t, h: h, g: h.New(t, upstream.Set{})}
}

func (u user) live() gateway.Live {
	u.t.Helper()
	live, err := u.g.Live(u.t.Context())
	if err != nil {
		u.t.Fatalf("Live: %v", err)
	}
	return live
}

func (u user) apply(c upstream.Changes) gateway.Receipt {
	u.t.Helper()
	r, err := u.g.Apply(u.t.Context(), c)
	if err != nil {
		u.t.Fatalf("Apply: %v", err)
	}
	return r
}

// refused applies changes of which one upstream's is refused.
func (u user) refused(c upstream.Changes, name string) {
	u.t.Helper()
	_, err := u.g.Apply(u.t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), name) {
		u.t.Errorf("the change of %s was not made, and Apply returned %v", name, err)
	}
}

// step is one pass of the syncer: it returns the changes and the result.
func (u user) step(want upstream.Set) (gateway.Live, upstream.Changes, error) {
	live, err := u.g.Live(u.t.Context())
	if err != nil {
		return live, upstream.Changes{}, err
	}
	c := upstream.Diff(live.Set, want)
	if c.Empty() {
		return live, c, nil
	}
	_, err = u.g.Apply(u.t.Context(), c)
	return live, c, err
}

// converge brings the gateway to the wanted set, despite trouble.
func (u user) converge(want upstream.Set) {
	u.t.Helper()
	u.until("it is in sync", want, func(gateway.Live) bool { return true })
}

// settled is converge until all workers are there again.
func (u user) settled(want upstream.Set) {
	u.t.Helper()
	u.until("it is settled", want, func(live gateway.Live) bool { return !live.Unsettled && len(live.Workers) == u.h.Workers })
}

func (u user) until(what string, want upstream.Set, ok func(gateway.Live) bool) {
	u.t.Helper()
	for end := time.Now().Add(u.h.Patience); ; {
		live, c, err := u.step(want)
		if err == nil && c.Empty() && ok(live) {
			return
		}
		if time.Now().After(end) {
			u.t.Fatalf("not within %s: %s; it shows %s, %+v, %v", u.h.Patience, what, show(live.Set), live.Workers, err)
		}
		select {
		case <-u.t.Context().Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (u user) same(live, want upstream.Set) {
	u.t.Helper()
	if c := upstream.Diff(live, want); !c.Empty() {
		u.t.Errorf("it shows %s, want %s: %d to add, %d to update, %d to remove",
			show(live), show(want), len(c.Added), len(c.Updated), len(c.Removed))
	}
}

// everywhere checks that every worker has the wanted set: by what each of them shows, and by a second gateway that only
// knows the conf file.
func (u user) everywhere(want upstream.Set) {
	u.t.Helper()
	u.shown(want)
	g := u.h.New(u.t, want)
	defer func() { _ = g.Close() }()
	other := user{t: u.t, h: u.h, g: g}
	live := other.met()
	other.same(live.Set, want)
	other.crew(live.Workers)
}

// met looks until it has seen every worker, as one may answer late on a busy machine.
func (u user) met() gateway.Live {
	u.t.Helper()
	for end := time.Now().Add(u.h.Patience); ; {
		if live := u.live(); len(live.Workers) == u.h.Workers || time.Now().After(end) {
			return live
		}
	}
}

func (u user) shown(want upstream.Set) {
	u.t.Helper()
	workers := u.h.Shown(u.t)
	if n := max(u.h.Workers, 1); len(workers) != n {
		u.t.Errorf("%d of %d workers show what they have", len(workers), n)
	}
	for _, has := range workers {
		if !slices.Equal(has.Names(), want.Names()) {
			u.t.Errorf("a worker has %s, want %s", show(has), show(want))
			continue
		}
		for got, wanted := range upstream.Pairs(has, want) {
			if !slices.EqualFunc(got.Servers, wanted.Servers, upstream.Server.Same) {
				u.t.Errorf("a worker has %s with servers %+v, want %+v", got.Name, got.Servers, wanted.Servers)
			}
		}
	}
}

// crew checks that all workers are there, in order, and up to date.
func (u user) crew(workers []gateway.Worker) {
	u.t.Helper()
	if len(workers) != u.h.Workers || !slices.IsSortedFunc(workers, func(a, b gateway.Worker) int {
		return strings.Compare(a.ID, b.ID)
	}) {
		u.t.Errorf("workers %+v, want %d in order", workers, u.h.Workers)
	}
	for _, w := range workers {
		if w.Err != nil || w.Since.IsZero() {
			u.t.Errorf("worker %s is known since %s and has not what it should: %v", w.ID, w.Since, w.Err)
		}
	}
}

func set(list ...upstream.Upstream) upstream.Set { return upstream.NewSet(list) }

func web(name string, ports ...uint16) upstream.Upstream {
	u := upstream.Upstream{Name: name, Options: upstream.Options{Keepalive: 20}}
	for _, p := range ports {
		u.Servers = append(u.Servers, upstream.Server{
			Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p),
			Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second,
		})
	}
	return u
}

func weighted(u upstream.Upstream, weight int) upstream.Upstream {
	u.Servers[0].Weight = weight
	return u
}

func down(u upstream.Upstream) upstream.Upstream {
	u.Servers[0].Down = true
	return u
}

func limited(u upstream.Upstream, conns int) upstream.Upstream {
	u.Servers[0].MaxConns = conns
	return u
}

func balanced(u upstream.Upstream, method string, keepalive int) upstream.Upstream {
	u.Options = upstream.Options{Method: method, Keepalive: keepalive}
	return u
}

// rich returns a set with every option, all sorts of names, so many upstreams that they are sent in several parts, and
// one with so many servers that it is.
func rich() upstream.Set {
	six := web("v6", 80, 81)
	six.Servers[1].Addr = netip.MustParseAddrPort("[2001:db8::1]:80")
	spare := web("Spare.x-y_1", 1, 2)
	spare.Servers[1].Backup = true
	slow := web("slow", 1)
	slow.Servers[0].MaxFails, slow.Servers[0].FailTimeout = 0, time.Minute
	list := []upstream.Upstream{
		six, spare, slow, weighted(web("heavy", 1, 2), 100), down(web("out", 1, 2)), limited(web("limited", 1), 7),
		balanced(web("least", 1, 2), "least_conn", 5), balanced(web("hash", 1, 2), "ip_hash", 0), balanced(web("any", 1, 2), "random", 1),
	}
	large := web("large")
	for i := range 1500 {
		large.Servers = append(large.Servers, web("", uint16(10_000+i)).Servers...)
	}
	list = append(list, large)
	for i := range 100 {
		list = append(list, web(fmt.Sprintf("service-%d", i), uint16(1000+i), uint16(2000+i)))
	}
	return upstream.NewSet(list)
}
