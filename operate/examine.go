package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"swallowkeeper/doctor"
	"swallowkeeper/gateway"
	"swallowkeeper/persist"
	"swallowkeeper/registry"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
	"swallowkeeper/wiring"
)

// Check tests whether everything in the configuration can be used, and reports each result to say. It changes nothing.
func (o *Offline) Check(ctx context.Context, limit time.Duration, say func(what, found string, err error)) error {
	h, err := o.parts()
	if err != nil {
		return err
	}
	defer h.Close(o.Log)
	cfg := o.Config
	if cfg.Status.TokenFile != "" {
		say("status.token_file", "it has a token", cfg.Status.CheckToken())
	}
	for _, src := range h.Sources {
		set, err := firstSet(ctx, src, limit)
		say("registry "+src.Name, fmt.Sprintf("%d upstreams, %d servers, %d left out", set.Usable(), set.Servers(), set.Outs().Len()), err)
	}
	found, err := checkFile(cfg.Persist)
	say("file "+cfg.Persist.Path, found, err)
	if cfg.Status.Socket != "" {
		found, err := cfg.Status.CheckSocket()
		say("socket "+cfg.Status.Socket, found, err)
	}
	for _, t := range h.Targets {
		live, err := within(ctx, limit, t.Gateway.Live)
		say("gateway "+t.Name, fmt.Sprintf("%d upstreams live", live.Set.Len()), err)
	}
	return nil
}

func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// firstSet waits for the first set that the registry publishes.
func firstSet(ctx context.Context, src syncer.Source, limit time.Duration) (upstream.Set, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan upstream.Set, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- src.Registry.Watch(ctx, func(s upstream.Set) {
			select {
			case first <- s:
			default:
			}
		})
	}()
	late, look := time.NewTimer(limit), time.NewTicker(syncer.LookEvery)
	defer late.Stop()
	defer look.Stop()
	for {
		select {
		case s := <-first:
			cancel()
			return s, <-ended
		case now := <-look.C:
			if is := src.Registry.Condition(); is.Hopeless(now) {
				cancel()
				return upstream.Set{}, errors.Join(is.Trouble, <-ended)
			}
			continue
		case <-late.C:
			trouble := src.Registry.Condition().Trouble
			cancel()
			return upstream.Set{}, unanswered(limit, errors.Join(trouble, <-ended))
		case err := <-ended:
			return upstream.Set{}, unanswered(limit, err)
		}
	}
}

func unanswered(limit time.Duration, trouble error) error {
	if trouble == nil {
		trouble = errors.New("no reason given")
	}
	return fmt.Errorf("no answer within %s: %w", limit, trouble)
}

// checkFile reads the conf file and checks whether it could be written.
func checkFile(cfg persist.Config) (string, error) {
	gen, edited, err := persist.Read(cfg.Path)
	if err == nil {
		err = persist.Writable(cfg)
	}
	if err != nil {
		return "", err
	}
	if gen.Number == 0 {
		return "not written yet", nil
	}
	found := fmt.Sprintf("generation %d of %s, %d upstreams, %d servers",
		gen.Number, gen.Time.Format(time.RFC3339), gen.Set.Len(), gen.Set.Servers())
	if edited {
		found += "; edited by hand since: the next write takes the edits away"
	}
	return found, nil
}

// Examine asks all parts at the same time. It reads the conf file last, so that it contains whatever a gateway has
// received from the daemon.
func (o *Offline) Examine(ctx context.Context, from doctor.NginxSource) (doctor.Facts, []doctor.Finding, error) {
	cfg := o.Config
	facts := doctor.Facts{
		ConfPath:   cfg.Persist.Path,
		Gateways:   make([]doctor.Gateway, len(cfg.Gateways)),
		Registries: make([]doctor.Registry, len(cfg.Registries)),
	}
	h, err := o.parts()
	if err != nil {
		return facts, nil, err
	}
	defer h.Close(o.Log)
	var found []doctor.Finding
	var group errgroup.Group
	group.Go(func() error {
		facts.Nginx, facts.Elsewhere, found = doctor.ReadNginx(ctx, from)
		return nil
	})
	for i, t := range h.Targets {
		group.Go(func() error {
			facts.Gateways[i] = examineGateway(ctx, t)
			return nil
		})
	}
	for i, src := range h.Sources {
		group.Go(func() error {
			facts.Registries[i] = examineRegistry(ctx, src)
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	gen, _, err := persist.Read(cfg.Persist.Path)
	if err != nil {
		found = append(found, doctor.Finding{
			Check: "conf-unread", Severity: doctor.Unknown, Where: cfg.Persist.Path,
			What:   "The conf file can't be read: " + err.Error(),
			Why:    "What swallowkeeper has written is not known, and the daemon can't go on from it.",
			Change: "Run it as the account that swallowkeeper runs as; see docs/conf-file.md",
		})
	}
	if damaged, err := persist.Damaged(cfg.Persist.Path); err == nil && len(damaged) > 0 {
		found = append(found, doctor.Finding{
			Check: "conf-damaged", Severity: doctor.Warning, Where: damaged[len(damaged)-1], Places: damaged,
			What:   "The conf file was damaged when swallowkeeper started.",
			Why:    "The newest good generation of the history took its place. The freezes in it are lost, and what damaged it may come again.",
			Change: "Look what it is (a full disk, a power cut, another program), freeze anew what shall stay, then move the damaged file away",
		})
	}
	facts.Written = gen.Set
	sets := make([]upstream.Set, len(facts.Registries))
	for i, r := range facts.Registries {
		sets[i] = r.Set
	}
	facts.Wanted = upstream.Merge(gen.Set, sets...)
	return facts, found, nil
}

func examineGateway(ctx context.Context, t wiring.Target) doctor.Gateway {
	g := doctor.Gateway{Name: t.Name}
	if x, is := t.Gateway.(gateway.Examiner); is {
		g.Examination, g.Err = x.Examine(ctx)
		return g
	}
	live, err := t.Gateway.Live(ctx)
	g.Upstreams, g.Err = live.Set.Names(), err
	return g
}

func examineRegistry(ctx context.Context, src syncer.Source) doctor.Registry {
	r := doctor.Registry{Name: src.Name}
	if x, is := src.Registry.(registry.Examiner); is {
		r.Examination, r.Err = x.Examine(ctx)
		return r
	}
	r.Set, r.Err = firstSet(ctx, src, examineLimit)
	return r
}

// examineLimit is how long a registry may take to list its upstreams.
const examineLimit = 10 * time.Second
