package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/internal/setting"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// explainLimit is how long a registry may take to explain, as somebody is waiting.
const explainLimit = 3 * time.Second

// Explain asks all registries at the same time about an upstream. What they can't tell is in the notes.
func Explain(ctx context.Context, sources []syncer.Source, name string) (instances []status.Finding, notes []reason.Reason) {
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	type answer struct {
		findings []upstream.Finding
		err      error
		mute     bool // it explains nothing, but may list the name
	}
	answers := make([]answer, len(sources))
	var asking sync.WaitGroup
	for i, src := range sources {
		r, ok := src.Registry.(registry.Explainer)
		if !ok {
			answers[i].mute = true
			continue
		}
		asking.Go(func() { answers[i].findings, answers[i].err = r.Explain(ctx, name) })
	}
	asking.Wait()
	for i, a := range answers {
		from := sources[i].Name
		switch {
		case a.mute:
			notes = append(notes, registryMute.With(from))
		case a.err != nil:
			notes = append(notes, registryTrouble.With(from, a.err))
		case len(a.findings) == 0:
			notes = append(notes, registryNothing.With(from))
		}
		if r, tells := sources[i].Registry.(registry.Noticer); tells {
			if how := r.Noticed(name); !how.IsZero() {
				notes = append(notes, registryNotices.With(from, how))
			}
		}
		for _, f := range a.findings {
			instances = append(instances, status.Finding{
				Registry: from, Addr: safetext.Line(f.Addr), In: f.In, Reason: f.Reason, Code: f.Reason.Code(), Index: f.Index,
			})
		}
	}
	return instances, notes
}

// Delivered tells which generation is in the conf file and since when, and of each gateway that it has shown it, or what is wrong.
func Delivered(st syncer.Status, file string) []reason.Reason {
	notes := []reason.Reason{inFile.With(file, st.Generation.Number, When(st.Generation.Time))}
	for _, g := range st.Gateways {
		shown, why := ShowGateway(g, st.Generation.Number)
		switch n := len(shown.Workers); {
		case !why.IsZero():
			notes = append(notes, why)
		case n > 0:
			notes = append(notes, workersHave.With(g.Name, g.Generation, n, When(g.Checked)))
		default:
			notes = append(notes, gatewayHas.With(g.Name, g.Generation, When(g.Checked)))
		}
	}
	return notes
}

// KeepsOut returns what keeps a usable instance of an upstream out of traffic, if anything.
func KeepsOut(st syncer.Status, name string) reason.Reason {
	for _, f := range st.Generation.Frozen {
		switch {
		case f.Name == generation.Everything:
			return until(f, allFrozen, allFrozenFor)
		case f.Name.Covers(name):
			return until(f, theFrozen, theFrozenFor)
		}
	}
	for _, h := range st.Holds {
		if h.Rule == guard.RuleMinServices {
			return guardHoldsAll.With()
		}
	}
	return reason.Reason{}
}

// KeptOut adds the reason why to usable instances that are out.
func KeptOut(e *status.Explanation, why reason.Reason) {
	for _, f := range e.Instances {
		if !f.In || why.IsZero() {
			continue
		}
		i := slices.IndexFunc(e.Servers, func(s status.Server) bool { return s.Addr == f.Addr })
		if i < 0 {
			i = len(e.Servers)
			e.Servers = append(e.Servers, status.Server{Addr: f.Addr, State: status.Out, Origin: f.Registry})
		}
		if s := &e.Servers[i]; s.State == status.Out {
			s.Because(listedButKept.With(f.Reason, why))
		}
	}
}

// NameReasons names the check, tag or rule that put each server in.
func NameReasons(servers []status.Server, instances []status.Finding) {
	for i, s := range servers {
		n := slices.IndexFunc(instances, func(f status.Finding) bool {
			return f.In && f.Addr == s.Addr && f.Registry == s.Origin
		})
		if s.State == status.In && n >= 0 {
			servers[i].Because(instances[n].Reason)
		}
	}
}

// FreezeOf converts the request for the syncer.
func FreezeOf(f status.FreezeRequest, now time.Time) (generation.Freeze, error) {
	var freeze generation.Freeze
	var err error
	if freeze.Name, err = generation.ParseScope(f.Name); err != nil {
		return freeze, status.As(status.ErrInvalid, fmt.Errorf("freeze: %w", err))
	}
	if f.For != "" {
		d, err := setting.ParseDuration(f.For)
		if err != nil || d <= 0 {
			return freeze, status.As(status.ErrInvalid, fmt.Errorf("freeze for %q: allowed is a duration above 0s, e.g. 2h", f.For))
		}
		freeze.Until = now.Add(d)
	}
	return freeze, nil
}

// Classify wraps an error with the kind that package status knows.
func Classify(err error) error {
	switch {
	case errors.Is(err, syncer.ErrUnknown), errors.Is(err, persist.ErrNotKept):
		return status.As(status.ErrNotFound, err)
	case errors.Is(err, syncer.ErrNotNow):
		return status.As(status.ErrConflict, err)
	}
	return err
}
