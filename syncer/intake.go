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

// Source is a registry and the name that its servers bear.
type Source struct {
	Name     string
	Registry registry.Registry
	// Dotted lets names with a dot in.
	Dotted bool
}

// intake keeps what each registry published last. Registries write to it at any
// time without ever waiting; whoever decides reads the newest.
type intake struct {
	names []string
	// dotted are those that may have names with a dot.
	dotted map[string]bool
	// changed has room for one signal: however often something changes before it is
	// looked at, it is looked at once.
	changed chan struct{}

	mu     sync.Mutex
	latest map[string]upstream.Set
	at     map[string]time.Time
	// old are those that gave what they did before what is written now was made by another process.
	old map[string]bool
	// waiting is the arrival time of the oldest pending answer; zero where none is pending.
	waiting time.Time
}

func newIntake(sources []Source) *intake {
	in := &intake{
		changed: make(chan struct{}, 1),
		latest:  make(map[string]upstream.Set),
		at:      make(map[string]time.Time),
		old:     make(map[string]bool),
		dotted:  make(map[string]bool),
	}
	for _, s := range sources {
		in.names = append(in.names, s.Name)
		in.dotted[s.Name] = s.Dotted
	}
	return in
}

// watch runs one registry until the context ends, and starts it again should it give up.
func (in *intake) watch(ctx context.Context, s Source, policy retry.Policy, log logrus.FieldLogger) {
	watch := func(ctx context.Context) error {
		err := s.Registry.Watch(ctx, func(set upstream.Set) { in.publish(s.Name, set) })
		if err == nil && ctx.Err() == nil {
			err = errors.New("it gave no reason")
		}
		return err
	}
	// What Run returns is the end of the context: the end that was asked for.
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

// seen merges what the registries gave. A registry that has not answered yet keeps
// its part of the written set as it was, and so does one whose answer is old; while one is missing, so do servers that
// come from no registry of this configuration. emptied names those of several that suddenly list nothing
// usable while others do.
func (in *intake) seen(written upstream.Set) (set upstream.Set, emptied []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	latest := make(map[string]upstream.Set, len(in.latest))
	for name, set := range in.latest {
		if in.old[name] {
			continue
		}
		if latest[name] = set.WithUnknown(written, name); !in.dotted[name] {
			latest[name] = undotted(written, latest[name])
		}
	}
	for _, name := range in.names {
		if set, answered := latest[name]; answered && set.Usable() == 0 && written.From(name).Servers() > 0 {
			emptied = append(emptied, name)
		}
	}
	if len(emptied) == len(in.names) { // nothing is listed at all
		emptied = nil
	}
	parts := make([]upstream.Set, 0, len(in.names)+1)
	for _, name := range in.names {
		set, answered := latest[name]
		if !answered {
			set = written.From(name)
		}
		parts = append(parts, set)
	}
	if len(latest) < len(in.names) {
		parts = append(parts, written.FromNoneOf(in.names))
	}
	return upstream.Merge(written, parts...), emptied
}

// outdate notes that what is written is newer than what the registries gave.
func (in *intake) outdate() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for name := range in.latest {
		in.old[name] = true
	}
}

// counts notes that what a registry gave is what it has now.
func (in *intake) counts(name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.old, name)
}

// missing names the registries that have not answered yet.
func (in *intake) missing() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(in.names), func(name string) bool {
		_, answered := in.latest[name]
		return answered
	})
}

// answered says when each registry published last; one that never did is not in it.
func (in *intake) answered() map[string]time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	at := make(map[string]time.Time, len(in.at))
	for name, t := range in.at {
		at[name] = t
	}
	return at
}

// taken returns the arrival time of the oldest pending answer, or now where none is pending. It marks all as taken.
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

// signal sets a flag that somebody waits for; it never blocks.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
