// Package statustest is a [status.Daemon] for tests. It lives in memory, starts with a believable history, and really
// carries out approvals, freezes and rollbacks.
package statustest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/internal/setting"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	words "swallowkeeper/upstream"
)

// Fake is a daemon in memory. Make one with [New], [Large] or [Empty].
type Fake struct {
	timeline *status.Timeline

	mu    sync.Mutex
	state State
}

var _ status.Daemon = (*Fake)(nil)

// State is the state of a Fake. Derived values (counts, in sync, ready and reasons) are computed at each request of the
// status.
type State struct {
	Status    status.Status
	Upstreams []status.Upstream
	// Unserved names the upstreams whose servers are kept although none is usable: see Lose.
	Unserved []string
	// History has the kept generations, newest first, and Sets their upstreams, by number.
	History []status.Generation
	Sets    map[int][]status.Upstream
	// Findings are the registries' answers by upstream; by default they are derived from Upstreams.
	Findings map[string][]status.Finding
	// Notes are about a whole upstream.
	Notes map[string][]reason.Reason
	Plan  status.Plan
	// Opinion is the guard's opinion on every rollback.
	Opinion reason.Reason
	// Dead is the error of Alive, Broken that of Plan, History and Diff.
	Dead, Broken error
	// Approved, Frozen, Unfrozen and Rolled are the orders carried out so far.
	Approved []string
	Frozen   []status.FreezeRequest
	Unfrozen []string
	Rolled   []int
}

// Change changes the state under its lock, then sends events.
func (f *Fake) Change(do func(*State), events ...status.Event) {
	f.mu.Lock()
	do(&f.state)
	f.mu.Unlock()
	for _, e := range events {
		f.Tell(e)
	}
}

// Read reads the state under its lock. look must not retain any of it.
func (f *Fake) Read(look func(State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	look(f.state)
}

// Tell adds an event, with the current time unless it has one.
func (f *Fake) Tell(e status.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Code = e.Text.Code()
	f.timeline.Add(e)
}

// Hold makes the guard hold the removal of all servers of some upstreams.
func (f *Fake) Hold(id string, upstreams ...string) {
	h := status.Hold{ID: id, Rule: "max_removal", Since: time.Now(), Routes: []status.HeldRoute{}}
	f.Change(func(s *State) {
		h = s.hold(h, upstreams)
	}, status.Event{Kind: "held", Text: reason.Text("hold " + id + " of " + fmt.Sprint(upstreams))})
}

func (s *State) hold(h status.Hold, upstreams []string) status.Hold {
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		if !slices.Contains(upstreams, u.Name) {
			continue
		}
		for k := range u.Servers {
			if server := &u.Servers[k]; server.State == status.In {
				server.State, server.Since = status.Held, h.Since
				server.Because(staysHeld.With())
				h.Servers = append(h.Servers, status.HeldServer{Upstream: u.Name, Addr: server.Addr})
			}
		}
	}
	_, servers, _ := count(s.Upstreams)
	h.Of = servers
	if h.Reason.IsZero() {
		h.Reason = wouldGo.With(len(h.Servers), servers)
	}
	h.Code = h.Reason.Code()
	s.explainHold(&h)
	s.Status.Holds = append(s.Status.Holds, h)
	return h
}

// Status implements [status.Daemon].
func (f *Fake) Status() status.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state.Status
	s.Time = time.Now()
	s.Holds, s.Freezes = slices.Clone(s.Holds), slices.Clone(s.Freezes)
	s.Registries, s.Gateways = slices.Clone(s.Registries), slices.Clone(s.Gateways)
	for i := range s.Gateways {
		s.Gateways[i].Workers = slices.Clone(s.Gateways[i].Workers)
	}
	s.Upstreams, s.Servers, s.Out = count(f.state.Upstreams)
	s.Routes, s.RoutesOut = countRoutes(f.state.Upstreams)
	s.InSync, s.Reasons = s.Generation.Number > 0, nil
	if s.FilePlain = status.Plain(s.FileError); s.FileError != "" {
		s.Reasons = append(s.Reasons, fileFailed.With(s.FileError))
	}
	for i, r := range s.Registries {
		s.Registries[i].Plain = status.Plain(r.Trouble)
		if r.Trouble != "" {
			s.Reasons = append(s.Reasons, trouble.With(r.Name, r.Trouble))
		}
	}
	for i, g := range s.Gateways {
		s.Gateways[i].Plain = status.Plain(g.Error)
		if !g.InSync {
			s.InSync = false
			s.Reasons = append(s.Reasons, behind.With(g.Name, g.Error))
		}
	}
	s.Ready = s.InSync && len(s.Reasons) == 0
	s.Unserved, s.LeftOut, s.OutOf = f.state.out()
	s.Verdict = status.Judge(s)
	return s
}

// countRoutes counts the routes, and those that are out.
func countRoutes(upstreams []status.Upstream) (in, out int) {
	for _, u := range upstreams {
		for _, r := range u.Routes {
			if r.State == status.Out {
				out++
			} else {
				in++
			}
		}
	}
	return in, out
}

// out returns what is out of the upstreams, and which have servers but none that is usable.
func (s *State) out() (unserved []status.Unserved, left []status.LeftOut, upstreams int) {
	for _, u := range s.Upstreams {
		reasons := map[reason.Reason]int{}
		n := 0
		for _, server := range u.Servers {
			if server.State == status.Out || server.State == status.Held && s.unserved(u.Name) {
				reasons[server.Reason]++
			}
			if server.State == status.Out {
				n++
			}
		}
		var all []status.Reason
		for _, why := range slices.SortedFunc(maps.Keys(reasons), reason.Reason.Compare) {
			all = append(all, status.Reason{Text: why, Code: why.Code(), Count: reasons[why]})
		}
		if s.unserved(u.Name) {
			unserved = append(unserved, status.Unserved{Upstream: u.Name, Servers: len(u.Servers) - n, Reasons: all})
		}
		if n > 0 {
			upstreams++
			left = append(left, status.LeftOut{Upstream: u.Name, Out: n, Reasons: all})
		}
	}
	slices.SortStableFunc(left, func(a, b status.LeftOut) int { return b.Out - a.Out })
	return unserved, left[:min(len(left), 10)], upstreams
}

func (s *State) unserved(name string) bool { return slices.Contains(s.Unserved, name) }

// Lose makes all servers of an upstream unusable. They stay in traffic.
func (f *Fake) Lose(name string, why reason.Reason) {
	f.Change(func(s *State) {
		s.Unserved = append(s.Unserved, name)
		for i := range s.Upstreams {
			for k := range s.Upstreams[i].Servers {
				if server := &s.Upstreams[i].Servers[k]; s.Upstreams[i].Name == name && server.State == status.In {
					server.State, server.Since = status.Held, time.Now()
					server.Because(why)
				}
			}
		}
	}, status.Event{Kind: "no_healthy_server", Upstream: name, Text: unserved.With(name)})
}

// Alive implements [status.Daemon].
func (f *Fake) Alive() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Dead
}

// Upstreams implements [status.Daemon].
func (f *Fake) Upstreams() iter.Seq[status.Upstream] {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := clone(f.state.Upstreams)
	for i := range all {
		all[i].Trouble = status.Trouble(all[i], f.state.unserved(all[i].Name))
	}
	return slices.Values(all)
}

// Explain implements [status.Daemon].
func (f *Fake) Explain(_ context.Context, name string) (status.Explanation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.state.Upstreams, func(u status.Upstream) bool { return u.Name == name })
	if i < 0 {
		return status.Explanation{}, status.As(status.ErrNotFound, fmt.Errorf("upstream %q: no registry lists it", name))
	}
	e := status.Explanation{
		Upstream: clone(f.state.Upstreams[i : i+1])[0], Written: true,
		Instances: slices.Clone(f.state.Findings[name]), Notes: slices.Clone(f.state.Notes[name]),
	}
	if e.Instances == nil {
		for _, s := range e.Servers {
			if s.State != status.Held {
				e.Instances = append(e.Instances, status.Finding{
					Registry: s.Origin, Addr: s.Addr, In: s.State != status.Out, Reason: s.Reason, Code: s.Code, Index: 4711,
				})
			}
		}
	}
	return e, nil
}

// Plan implements [status.Daemon].
func (f *Fake) Plan(context.Context) (status.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Plan, f.state.Broken
}

// History implements [status.Daemon].
func (f *Fake) History() ([]status.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state.History), f.state.Broken
}

// Diff implements [status.Daemon].
func (f *Fake) Diff(from, to int) (status.Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state.Broken != nil {
		return status.Changes{}, f.state.Broken
	}
	a, err := f.state.kept(from)
	if err != nil {
		return status.Changes{}, err
	}
	b, err := f.state.kept(to)
	if err != nil {
		return status.Changes{}, err
	}
	return diff(a, b), nil
}

func (s *State) kept(number int) ([]status.Upstream, error) {
	for _, g := range s.History {
		switch {
		case g.Number == number && g.Damaged != "":
			return nil, status.As(status.ErrConflict, fmt.Errorf("generation %d: %s", number, g.Damaged))
		case g.Number == number:
			return s.Sets[number], nil
		}
	}
	return nil, status.As(status.ErrNotFound, fmt.Errorf("generation %d is not kept", number))
}

// Timeline implements [status.Daemon].
func (f *Fake) Timeline(most int) []status.Event { return f.timeline.Newest(most) }

// Activity implements [status.Daemon].
func (f *Fake) Activity() []status.Activity { return f.timeline.Activity() }

// Subscribe implements [status.Daemon].
func (f *Fake) Subscribe(ctx context.Context) <-chan status.Event { return f.timeline.Subscribe(ctx) }

// order carries out an order, and sends its event if it succeeded.
func (f *Fake) order(by generation.Signature, do func(*State) (status.Event, error)) error {
	f.mu.Lock()
	e, err := do(&f.state)
	f.mu.Unlock()
	if err == nil && e.Kind != "" {
		e.By, e.Why = by.By, by.Why
		f.Tell(e)
	}
	return err
}

// Approve implements [status.Daemon]: the held servers are removed.
func (f *Fake) Approve(_ context.Context, id string, by generation.Signature) error {
	return f.order(by, func(s *State) (status.Event, error) {
		i := slices.IndexFunc(s.Status.Holds, func(h status.Hold) bool { return h.ID == id })
		if i < 0 {
			return status.Event{}, status.As(status.ErrNotFound, fmt.Errorf("there is no hold %q", id))
		}
		held := s.Status.Holds[i].Servers
		s.Status.Holds = slices.Delete(s.Status.Holds, i, i+1)
		s.Approved = append(s.Approved, id)
		for i := range s.Upstreams {
			u := &s.Upstreams[i]
			u.Servers = slices.DeleteFunc(u.Servers, func(server status.Server) bool {
				return slices.Contains(held, status.HeldServer{Upstream: u.Name, Addr: server.Addr})
			})
		}
		s.Upstreams = slices.DeleteFunc(s.Upstreams, func(u status.Upstream) bool { return len(u.Servers) == 0 })
		g := s.write(reason.Text("changed what hold "+id+" kept"), by)
		return status.Event{
			Kind: "approved", Generation: g.Number, Text: reason.Text("a person let hold " + id + " through"),
		}, nil
	})
}

// Freeze implements [status.Daemon].
func (f *Fake) Freeze(_ context.Context, r status.FreezeRequest, by generation.Signature) error {
	return f.order(by, func(s *State) (status.Event, error) {
		freeze := status.Freeze{Name: r.Name, By: by.By, Why: by.Why}
		if r.For != "" {
			d, err := setting.ParseDuration(r.For)
			if err != nil || d <= 0 {
				return status.Event{}, status.As(status.ErrInvalid, fmt.Errorf("freeze for %q: allowed is a duration above 0s, e.g. 2h", r.For))
			}
			freeze.Until = time.Now().Add(d)
		}
		if r.Name == "" {
			return status.Event{}, status.As(status.ErrInvalid, fmt.Errorf("freeze: no name is given, and %q is everything", status.Everything))
		}
		known := slices.ContainsFunc(s.Upstreams, func(u status.Upstream) bool { return u.Name == r.Name })
		if r.Name != status.Everything && !known {
			return status.Event{}, status.As(status.ErrNotFound, fmt.Errorf("upstream %q is not in the conf file", r.Name))
		}
		s.Frozen = append(s.Frozen, r)
		s.Status.Freezes = append(without(s.Status.Freezes, r.Name), freeze)
		s.markFrozen()
		return status.Event{Kind: "frozen", Text: reason.Text("a person froze " + r.Name)}, nil
	})
}

// Unfreeze implements [status.Daemon].
func (f *Fake) Unfreeze(_ context.Context, name string, by generation.Signature) error {
	return f.order(by, func(s *State) (status.Event, error) {
		left := without(s.Status.Freezes, name)
		if len(left) == len(s.Status.Freezes) {
			return status.Event{}, status.As(status.ErrNotFound, fmt.Errorf("%q is not frozen", name))
		}
		s.Unfrozen = append(s.Unfrozen, name)
		s.Status.Freezes = left
		s.markFrozen()
		return status.Event{Kind: "unfrozen", Text: reason.Text("the freeze of " + name + " ended")}, nil
	})
}

// RollbackPlan implements [status.Daemon].
func (f *Fake) RollbackPlan(_ context.Context, generation int) (status.RollbackPlan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set, err := f.state.kept(generation)
	if err != nil {
		return status.RollbackPlan{}, err
	}
	return status.RollbackPlan{
		Changes: diff(f.state.Upstreams, set), Opinion: f.state.Opinion, Present: generation == f.state.Status.Generation.Number,
	}, nil
}

// Rollback implements [status.Daemon]: it restores the upstreams of the generation.
func (f *Fake) Rollback(_ context.Context, generation int, by generation.Signature) (status.RollbackResult, error) {
	var result status.RollbackResult
	err := f.order(by, func(s *State) (status.Event, error) {
		set, err := s.kept(generation)
		if err != nil {
			return status.Event{}, err
		}
		if generation == s.Status.Generation.Number {
			result = status.RollbackResult{Generation: s.Status.Generation, Present: true, Gateways: slices.Clone(s.Status.Gateways)}
			return status.Event{}, nil
		}
		s.Rolled = append(s.Rolled, generation)
		s.Upstreams = clone(set)
		s.Status.Freezes = append(without(s.Status.Freezes, status.Everything), status.Freeze{Name: status.Everything, By: by.By, Why: by.Why})
		s.markFrozen()
		result.Generation, result.Opinion = s.write(words.RolledBack(generation), by), s.Opinion
		result.Gateways = slices.Clone(s.Status.Gateways)
		return status.Event{
			Kind: "rolled_back", Generation: result.Generation.Number,
			Text: reason.Text(fmt.Sprintf("a person went back to generation %d", generation)),
		}, nil
	})
	return result, err
}

// write makes a new generation of the upstreams, shown by every gateway.
func (s *State) write(why reason.Reason, by generation.Signature) status.Generation {
	before := s.Sets[s.Status.Generation.Number]
	g := status.Generation{Number: s.Status.Generation.Number + 1, Time: time.Now(), Reason: why, By: by.By, Why: by.Why}
	g.Digest = fmt.Sprintf("sha256:%064x", g.Number)
	g.Upstreams, g.Servers, _ = count(s.Upstreams)
	g.Summary = diff(before, s.Upstreams).Summary
	s.Status.Generation = g
	s.History = slices.Insert(s.History, 0, g)
	if s.Sets == nil {
		s.Sets = map[int][]status.Upstream{}
	}
	s.Sets[g.Number] = clone(s.Upstreams)
	for i := range s.Status.Gateways {
		s.Status.Gateways[i].Generation = g.Number
	}
	return g
}

// markFrozen marks upstreams and servers as frozen.
func (s *State) markFrozen() {
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		u.Frozen = slices.ContainsFunc(s.Status.Freezes, func(f status.Freeze) bool {
			return f.Name == u.Name || f.Name == status.Everything
		})
		for k := range u.Servers {
			switch server := &u.Servers[k]; {
			case u.Frozen && server.State == status.In:
				server.State = status.Frozen
			case !u.Frozen && server.State == status.Frozen:
				server.State = status.In
			}
		}
	}
}
