package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/retry"
	"swallowkeeper/registry"
	"swallowkeeper/upstream"
)

// Source is a registry and the name that its servers carry as origin.
type Source struct {
	Name     string
	Registry registry.Registry
	// Dotted accepts names with a dot.
	Dotted bool
	// Unrouted ignores the routes that it registers.
	Unrouted bool
}

// intake keeps the latest set of each registry. Publishing never blocks; a decision reads the latest sets.
type intake struct {
	names []string
	// dotted are the registries whose names may have a dot.
	dotted map[string]bool
	// unrouted are the registries whose routes are ignored.
	unrouted map[string]*upstream.Filter
	// changed has capacity one, so that any number of changes before the next decision makes one signal.
	changed chan struct{}

	mu     sync.Mutex
	latest map[string]upstream.Set
	at     map[string]time.Time
	// old are the registries whose latest set is older than what another process wrote at time oldness.
	old     map[string]bool
	oldness time.Time
	// waiting is the arrival time of the oldest pending answer; zero if none is pending.
	waiting time.Time

	// Caches of seen, so that its cost depends on what changed.
	undotted, parts map[string]*upstream.Filter // by registry
	unowned         upstream.Filter             // what comes from no registry
	merger          upstream.Merger
}

func newIntake(sources []Source) *intake {
	in := &intake{
		changed: make(chan struct{}, 1),
		latest:  make(map[string]upstream.Set),
		at:      make(map[string]time.Time),
		old:     make(map[string]bool),
		dotted:  make(map[string]bool),

		unrouted: make(map[string]*upstream.Filter),

		undotted: make(map[string]*upstream.Filter),
		parts:    make(map[string]*upstream.Filter),
	}
	for _, s := range sources {
		in.undotted[s.Name], in.parts[s.Name] = &upstream.Filter{}, &upstream.Filter{}
		in.names = append(in.names, s.Name)
		in.dotted[s.Name] = s.Dotted
		if s.Unrouted {
			in.unrouted[s.Name] = &upstream.Filter{}
		}
	}
	return in
}

// watch runs a registry's watch until the context ends, and restarts it if it returns earlier.
func (in *intake) watch(ctx context.Context, s Source, policy retry.Policy, log logrus.FieldLogger) {
	watch := func(ctx context.Context) error {
		err := s.Registry.Watch(ctx, func(set upstream.Set) { in.publish(s.Name, set) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("it gave no reason")
		}
		return err
	}
	// Run returns only when the context ends, as requested.
	_ = policy.Run(ctx, watch, func(err error, wait time.Duration) {
		log.WithError(err).WithFields(logrus.Fields{"registry": s.Name, "again_in": wait.Round(time.Millisecond).String()}).
			Error("the registry's watch ended: it is started again")
	})
}

func (in *intake) publish(name string, set upstream.Set) {
	in.mu.Lock()
	in.latest[name] = set
	in.at[name] = time.Now()
	delete(in.old, name)
	if in.waiting.IsZero() {
		in.waiting = in.at[name]
	}
	in.mu.Unlock()
	signal(in.changed)
}

// seen merges what the registries published. A registry that has not answered yet, or whose answer is outdated, keeps
// its part of the written set. While one is missing, servers from none of the configured registries stay as well.
// emptied names the registries that suddenly list nothing usable while others do.
func (in *intake) seen(written upstream.Set) (set upstream.Set, emptied []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	latest := make(map[string]upstream.Set, len(in.latest))
	for name, set := range in.latest {
		if in.old[name] {
			continue
		}
		if latest[name] = set.WithUnknown(written, name); !in.dotted[name] {
			kept, out := in.undotted[name].Apply(latest[name], written, false, undotted)
			latest[name] = kept.AlsoOut(slices.Collect(out.All())...)
		}
		if f := in.unrouted[name]; f != nil {
			kept, out := f.Apply(latest[name], upstream.Set{}, false, unrouted)
			latest[name] = kept.AlsoOut(slices.Collect(out.All())...)
		}
	}
	for _, name := range in.names {
		if set, answered := latest[name]; answered && set.Usable() == 0 && written.From(name).Servers() > 0 {
			emptied = append(emptied, name)
		}
	}
	if len(emptied) == len(in.names) { // no registry lists anything
		emptied = nil
	}
	parts := make([]upstream.Set, 0, len(in.names)+1)
	for _, name := range in.names {
		set, answered := latest[name]
		if !answered {
			set = only(in.parts[name], written, func(u upstream.Upstream) upstream.Upstream { return u.From(name) })
		}
		parts = append(parts, set)
	}
	if len(latest) < len(in.names) {
		parts = append(parts, only(&in.unowned, written, func(u upstream.Upstream) upstream.Upstream { return u.FromNoneOf(in.names) }))
	}
	return in.merger.Merge(written, parts...), emptied
}

// unrouted removes the registered routes from an upstream.
func unrouted(u, _ upstream.Upstream) (upstream.Upstream, []upstream.Out) {
	var out []upstream.Out
	for _, r := range u.Routes {
		out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Route: r.Where(), Reason: routesOff.With()})
	}
	u.Routes = nil
	return u, out
}

// only returns a part of the written set.
func only(f *upstream.Filter, written upstream.Set, of func(upstream.Upstream) upstream.Upstream) upstream.Set {
	part, _ := f.Apply(written, upstream.Set{}, false, func(u, _ upstream.Upstream) (upstream.Upstream, []upstream.Out) { return of(u), nil })
	return part.WithOut()
}

// outdate records that another process wrote the conf file at time made, so that it is newer than what the registries
// published. If made is zero or in the future, the current time is used.
func (in *intake) outdate(made time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if now := time.Now(); made.IsZero() || made.After(now) {
		made = now
	}
	in.oldness = made
	for name := range in.latest {
		in.old[name] = true
	}
}

// isOld reports whether the registry's latest set is older than what is written.
func (in *intake) isOld(name string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.old[name]
}

// counts records that a registry can be read and when it was last heard; zero if it does not tell. It reports whether
// its latest set is current again. If it was not heard since oldness, that is unknown.
func (in *intake) counts(name string, heard time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !heard.IsZero() && !heard.After(in.oldness) {
		return false
	}
	delete(in.old, name)
	return true
}

// missing returns the registries that have not answered yet.
func (in *intake) missing() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(in.names), func(name string) bool {
		_, answered := in.latest[name]
		return answered
	})
}

// answered returns when each registry last published, without those that never did.
func (in *intake) answered() map[string]time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	at := make(map[string]time.Time, len(in.at))
	for name, t := range in.at {
		at[name] = t
	}
	return at
}

// taken returns the arrival time of the oldest pending answer, or now if none is pending. It marks all as taken.
func (in *intake) taken(now time.Time) time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	first := in.waiting
	in.waiting = time.Time{}
	if first.IsZero() {
		return now
	}
	return first
}

// signal sets a flag that another goroutine waits for. It never blocks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
