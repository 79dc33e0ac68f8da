package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/config"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/peer"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/kinds"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
	"swallowkeeper/wiring"
)

// Offline works without the daemon, from the conf file, its history, the gateways and the registries.
type Offline struct {
	Config  config.Config
	Version string
	Log     logrus.FieldLogger // receives messages of the parts
	// Limit is how long the registries may take to answer.
	Limit time.Duration
}

var _ Operator = (*Offline)(nil)

// Kinds returns all kinds that a configuration may name.
func Kinds() config.Kinds {
	return config.Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}
}

// Own returns the signature for orders of this process: that of its user.
func Own(why string) generation.Signature {
	return generation.Signature{By: generation.Signer(peer.Own()), Why: why}
}

// parts builds what the configuration names.
func (o *Offline) parts() (*wiring.Components, error) {
	h, err := wiring.Build(o.Config, o.Log, wiring.Meters{})
	if err != nil {
		return nil, Exit(status.ExitUsage, err)
	}
	return h, nil
}

// Status implements Operator. It is read from the conf file and the gateways.
func (o *Offline) Status(ctx context.Context) (status.Status, error) {
	gen, edited, err := persist.Read(o.Config.Persist.Path)
	if err != nil {
		return status.Status{}, err
	}
	st := status.Status{
		Version: o.Version, Time: time.Now(), Generation: ShowGeneration(gen), File: o.Config.Persist.Path, Alone: true,
		Upstreams: gen.Set.Len(), Servers: gen.Set.Servers(), Routes: gen.Set.RouteCount(), Reasons: []reason.Reason{daemonAway.With()},
		Holds: []status.Hold{}, Freezes: showFreezes(gen.Frozen), Registries: []status.Registry{}, Gateways: []status.Gateway{},
	}
	damaged, err := persist.Damaged(o.Config.Persist.Path)
	if err != nil {
		return st, err
	}
	ShowDamaged(&st, damaged)
	if edited {
		st.Reasons = append(st.Reasons, fileEdited.With())
	}
	h, err := o.parts()
	if err != nil {
		return st, err
	}
	defer h.Close(o.Log)
	if st.InSync = gen.Number > 0; !st.InSync {
		st.Reasons = append(st.Reasons, fileMissing.With(o.Config.Persist.Path))
	}
	for _, t := range h.Targets {
		g := gatewayNow(ctx, t, gen)
		if !g.InSync {
			st.InSync = false
			st.Reasons = append(st.Reasons, gatewayTrouble.With(g.Name, g.Error))
		}
		st.Gateways = append(st.Gateways, g)
	}
	st.Verdict = status.Judge(st)
	return st, nil
}

// gatewayNow checks whether a gateway has everything in the conf file, and nothing that is being removed. Its other
// upstreams are not ours.
func gatewayNow(ctx context.Context, t wiring.Target, gen generation.Generation) status.Gateway {
	t.Written.Set(gen.Set.Without(gen.Pushing))
	g := status.Gateway{Name: t.Name, Checked: time.Now(), Workers: []status.Worker{}}
	c, err := syncer.Lacks(ctx, t.Gateway, gen)
	switch {
	case err != nil:
		g.Error = safetext.Line(err.Error())
	case !c.Empty():
		g.Error = "its state differs from the conf file: swallowkeeper plan shows how"
	default:
		g.InSync, g.Generation = true, gen.Number
	}
	return g
}

// Upstreams implements Operator. It returns what the conf file has, without the instances that are out.
func (o *Offline) Upstreams(context.Context) ([]status.Upstream, error) {
	gen, _, err := persist.Read(o.Config.Persist.Path)
	if err != nil {
		return nil, err
	}
	if gen.Set.RouteCount() == 0 {
		return showSet(gen, nil), nil
	}
	h, err := o.parts()
	if err != nil {
		return nil, err
	}
	defer h.Close(o.Log)
	return showSet(gen, refusedBy(h.Targets, gen.Set)), nil
}

// Explain implements Operator. It compares the conf file with what the registries list.
func (o *Offline) Explain(ctx context.Context, name string) (status.Explanation, error) {
	e := status.Explanation{Instances: []status.Finding{}, Notes: []reason.Reason{}}
	all, err := o.Upstreams(ctx)
	if err != nil {
		return e, err
	}
	e.Upstream = status.Upstream{Name: name, Options: []string{}, Servers: []status.Server{}}
	if i := slices.IndexFunc(all, func(u status.Upstream) bool { return upstream.SameName(u.Name, name) }); i >= 0 {
		e.Upstream, e.Written = all[i], true
	}
	quiet := logs.Silent()
	h, err := wiring.Build(o.Config, quiet, wiring.Meters{})
	if err != nil {
		return e, err
	}
	defer h.Close(quiet)
	instances, notes := Explain(ctx, h.Sources, e.Name)
	e.Instances, e.Notes = append(e.Instances, instances...), append(e.Notes, notes...)
	NameReasons(e.Servers, instances)
	if e.Frozen {
		KeptOut(&e, itIsFrozen.With())
	}
	if !e.Written && len(instances) == 0 {
		return e, fmt.Errorf("upstream %q is not in the conf file: %s", name, reason.Join(notes...))
	}
	return e, nil
}

// Plan implements Operator with a dry run of one pass. The result is valid even with an error.
func (o *Offline) Plan(ctx context.Context) (status.Plan, error) {
	pass, err := o.Pass(ctx, Once{Limit: o.Limit, DryRun: true})
	if pass.Gateways == nil {
		return status.Plan{}, err
	}
	return pass.Plan(), err
}

func (o *Offline) history() *History { return &History{Path: o.Config.Persist.Path} }

// History implements Operator. It returns what is kept beside the conf file.
func (o *Offline) History(context.Context) ([]status.Generation, error) { return o.history().List() }

// Diff implements Operator.
func (o *Offline) Diff(_ context.Context, from, to int) (status.Changes, error) {
	return o.history().Diff(from, to)
}

// errNoDaemon is for what only the daemon knows.
var errNoDaemon = errors.New("only the daemon has holds")

// Approve implements Operator. Only the daemon has holds, so there is nothing to approve.
func (o *Offline) Approve(context.Context, string, string) error { return errNoDaemon }

// Freeze implements Operator.
func (o *Offline) Freeze(ctx context.Context, f status.FreezeRequest, why string) error {
	freeze, err := FreezeOf(f, time.Now())
	if err != nil {
		return err
	}
	_, err = o.order(ctx, why, syncer.Freeze(freeze))
	return err
}

// Unfreeze implements Operator.
func (o *Offline) Unfreeze(ctx context.Context, name, why string) error {
	scope, err := generation.ParseScope(name)
	if err != nil {
		return status.As(status.ErrInvalid, fmt.Errorf("unfreeze: %w", err))
	}
	_, err = o.order(ctx, why, syncer.Unfreeze(scope))
	return err
}

// RollbackPlan implements Operator. It compares the files.
func (o *Offline) RollbackPlan(_ context.Context, to int) (status.RollbackPlan, error) {
	now, _, err := persist.Read(o.Config.Persist.Path)
	if err != nil {
		return status.RollbackPlan{}, err
	}
	g, err := ReadKept(o.Config.Persist.Path, to)
	if err != nil {
		return status.RollbackPlan{}, err
	}
	plan := status.RollbackPlan{Changes: ShowChanges(upstream.Diff(now.Set, g.Set)), Present: now.Set.Equal(g.Set)}
	// If it can't be read, the guard judges strictly, and there is nothing to add here.
	h, _ := guard.ReadHistory(now.Guard, time.Now(), o.Config.Guard.Window)
	d := o.Config.Guard.Decide(guard.Input{Accepted: now.Set, Seen: g.Set, History: h, Now: time.Now()})
	plan.Opinion = guard.Reasons(d.Holds)
	return plan, nil
}

// Rollback implements Operator. A gateway that does not accept it is an error.
func (o *Offline) Rollback(ctx context.Context, to int, why string) (status.RollbackResult, error) {
	var result status.RollbackResult
	g, err := ReadKept(o.Config.Persist.Path, to)
	if err != nil {
		return result, err
	}
	result.Opinion, err = o.order(ctx, why, syncer.Rollback(g))
	if result.Present = errors.Is(err, syncer.ErrPresent); err != nil && !result.Present {
		return result, err
	}
	now, _, err := persist.Read(o.Config.Persist.Path)
	result.Generation = ShowGeneration(now)
	return result, err
}

// order carries out an order, signed by the user of this process.
func (o *Offline) order(ctx context.Context, why string, order syncer.Order) (reason.Reason, error) {
	SurviveBrokenPipe()
	h, err := o.parts()
	if err != nil {
		return reason.Reason{}, err
	}
	defer h.Close(o.Log)
	file, err := persist.Open(o.Config.Persist, o.Log)
	var locked *persist.LockedError
	if errors.As(err, &locked) { // nobody should stop a daemon for this
		return reason.Reason{}, fmt.Errorf("process %d is running but does not answer: it may be reloading its configuration; "+
			"try again, or check that its status.socket is this one", locked.PID)
	}
	if err != nil {
		return reason.Reason{}, err
	}
	remark, gateways, err := syncer.New(h.Parts(o.Config, file, o.Log)).DoOnce(ctx, syncer.Signed(Own(why), order))
	if err := errors.Join(err, file.Close()); err != nil {
		return reason.Reason{}, err
	}
	for _, g := range gateways {
		if g.Err != nil {
			return remark, Exit(status.ExitOutOfSync, fmt.Errorf("gateway %s is out of sync: %w", g.Name, g.Err))
		}
	}
	return remark, nil
}
