package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/internal/setting"
	"swallowkeeper/persist"
	"swallowkeeper/registry"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// explainLimit is how long a registry may take to explain: somebody waits for it.
const explainLimit = 3 * time.Second

// Explain asks all registries at once what they have for an upstream. What they can't tell
// is in the notes.
func Explain(ctx context.Context, sources []syncer.Source, name string) (instances []status.Finding, notes []string) {
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	type answer struct {
		findings []upstream.Finding
		err      error
	}
	answers := make([]answer, len(sources))
	var asking sync.WaitGroup
	for i, src := range sources {
		if r, ok := src.Registry.(registry.Explainer); ok {
			asking.Go(func() { answers[i].findings, answers[i].err = r.Explain(ctx, name) })
		}
	}
	asking.Wait()
	for i, a := range answers {
		from := sources[i].Name
		switch {
		case a.err != nil:
			notes = append(notes, fmt.Sprintf("registry %s: %s", from, safetext.Line(a.err.Error())))
		case len(a.findings) == 0:
			notes = append(notes, fmt.Sprintf("registry %s has nothing of this name now", from))
		}
		for _, f := range a.findings {
			instances = append(instances, status.Finding{
				Registry: from, Addr: safetext.Line(f.Addr), In: f.In, Reason: safetext.Line(f.Reason), Index: f.Index,
			})
		}
	}
	return instances, notes
}

// KeepsOut says what keeps a usable instance of an upstream out of traffic, "" for nothing.
func KeepsOut(st syncer.Status, name string) string {
	for _, f := range st.Generation.Frozen {
		switch {
		case f.Name == upstream.Everything:
			return "everything is frozen " + FrozenUntil(f.Until)
		case f.Name.Covers(name):
			return "the upstream is frozen " + FrozenUntil(f.Until)
		}
	}
	for _, h := range st.Holds {
		if h.Rule == guard.RuleMinServices {
			return "the guard holds everything"
		}
	}
	return ""
}

// KeptOut says of instances that are usable and out what keeps them out.
func KeptOut(e *status.Explanation, why string) {
	for _, f := range e.Instances {
		if !f.In || why == "" {
			continue
		}
		i := slices.IndexFunc(e.Servers, func(s status.Server) bool { return s.Addr == f.Addr })
		if i < 0 {
			i = len(e.Servers)
			e.Servers = append(e.Servers, status.Server{Addr: f.Addr, State: status.Out, Origin: f.Registry})
		}
		if s := &e.Servers[i]; s.State == status.Out {
			s.Reason = fmt.Sprintf("its registry lists it (%s), but %s", f.Reason, why)
		}
	}
}

// NameReasons says of each server that is in by which check, tag or rule.
func NameReasons(servers []status.Server, instances []status.Finding) {
	for i, s := range servers {
		n := slices.IndexFunc(instances, func(f status.Finding) bool {
			return f.In && f.Addr == s.Addr && f.Registry == s.Origin
		})
		if s.State == status.In && n >= 0 {
			servers[i].Reason = instances[n].Reason
		}
	}
}

// FreezeOf is the request as the syncer takes it.
func FreezeOf(f status.FreezeRequest, now time.Time) (upstream.Freeze, error) {
	var freeze upstream.Freeze
	var err error
	if freeze.Name, err = upstream.ParseScope(f.Name); err != nil {
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

// Told marks an error with its kind.
func Told(err error) error {
	switch {
	case errors.Is(err, syncer.ErrUnknown), errors.Is(err, persist.ErrNotKept):
		return status.As(status.ErrNotFound, err)
	case errors.Is(err, syncer.ErrNotNow):
		return status.As(status.ErrConflict, err)
	}
	return err
}
