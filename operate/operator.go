// Package operate is what an operator can see and do. [Offline] uses only the conf file, the gateways and the
// registries, the daemon's client asks the daemon, and [Either] uses whichever is available. Both get their answers in
// package status's types, converted here.
package operate

import (
	"context"
	"errors"

	"swallowkeeper/status"
	"swallowkeeper/status/client"
)

// Operator is what an operator can see and do. The daemon's client implements it, as do [Offline], which works without
// the daemon, and [Either], which uses whichever is available. why is the operator's reason for an order.
type Operator interface {
	// Status returns the current state with the verdict.
	Status(ctx context.Context) (status.Status, error)
	// Upstreams lists every upstream with its servers.
	Upstreams(ctx context.Context) ([]status.Upstream, error)
	// Explain tells for every instance of an upstream why it is in or out.
	Explain(ctx context.Context, name string) (status.Explanation, error)
	// Plan returns what the next pass would do, and what has drifted. It changes nothing.
	Plan(ctx context.Context) (status.Plan, error)
	// History lists the kept generations, newest first.
	History(ctx context.Context) ([]status.Generation, error)
	// Diff returns the changes from one kept generation to another.
	Diff(ctx context.Context, from, to int) (status.Changes, error)

	// Approve lets the hold with this ID through, and only that.
	Approve(ctx context.Context, id, why string) error
	// Freeze keeps an upstream, or everything, as currently written.
	Freeze(ctx context.Context, f status.FreezeRequest, why string) error
	// Unfreeze ends a freeze. The name "*" stands for the freeze of everything.
	Unfreeze(ctx context.Context, name, why string) error
	// RollbackPlan returns what a rollback to a generation would do. It changes nothing.
	RollbackPlan(ctx context.Context, generation int) (status.RollbackPlan, error)
	// Rollback writes a generation again, pushes it, and freezes everything.
	Rollback(ctx context.Context, generation int, why string) (status.RollbackResult, error)
}

// Live asks the daemon.
type Live = client.Client

var (
	_ Operator = (*Live)(nil)
	_ Operator = (*Either)(nil)
)

// Either asks the daemon until it does not answer, and then works without it. It serves one command, which asks one
// thing after another.
type Either struct {
	Live, Offline Operator
	// Away is called when the daemon does not answer, with what replaces its answer. An error forbids the replacement.
	// It is called once. instead is "" for a request that only prepares an order.
	Away  func(err error, instead string) error
	alone bool
}

// Alone reports whether the daemon did not answer and something else did.
func (e *Either) Alone() bool { return e.alone }

const (
	fromFiles = "this is what is kept beside the conf file"
	byHand    = "it is done by hand, in the conf file and the gateways"
)

// either asks the daemon, or the replacement.
func either[T any](e *Either, instead string, ask func(Operator) (T, error)) (T, error) {
	if !e.alone {
		answer, err := ask(e.Live)
		if !errors.Is(err, client.ErrUnreachable) {
			return answer, err
		}
		if err := e.Away(err, instead); err != nil {
			return answer, err
		}
		e.alone = true
	}
	return ask(e.Offline)
}

// do is either for an order, which only returns an error.
func (e *Either) do(give func(Operator) error) error {
	_, err := either(e, byHand, func(o Operator) (struct{}, error) { return struct{}{}, give(o) })
	return err
}

// Status implements Operator.
func (e *Either) Status(ctx context.Context) (status.Status, error) {
	return either(e, "this is what the conf file and the gateways say, without registries, holds and workers",
		func(o Operator) (status.Status, error) { return o.Status(ctx) })
}

// Upstreams implements Operator.
func (e *Either) Upstreams(ctx context.Context) ([]status.Upstream, error) {
	return either(e, "this is what the conf file has, without what is left out",
		func(o Operator) ([]status.Upstream, error) { return o.Upstreams(ctx) })
}

// Explain implements Operator.
func (e *Either) Explain(ctx context.Context, name string) (status.Explanation, error) {
	return either(e, "this is what the conf file has, beside what the registries say",
		func(o Operator) (status.Explanation, error) { return o.Explain(ctx, name) })
}

// Plan implements Operator.
func (e *Either) Plan(ctx context.Context) (status.Plan, error) {
	return either(e, "this is a dry run of one pass", func(o Operator) (status.Plan, error) { return o.Plan(ctx) })
}

// History implements Operator.
func (e *Either) History(ctx context.Context) ([]status.Generation, error) {
	return either(e, fromFiles, func(o Operator) ([]status.Generation, error) { return o.History(ctx) })
}

// Diff implements Operator.
func (e *Either) Diff(ctx context.Context, from, to int) (status.Changes, error) {
	return either(e, fromFiles, func(o Operator) (status.Changes, error) { return o.Diff(ctx, from, to) })
}

// Approve implements Operator. Only the daemon knows what is held.
func (e *Either) Approve(ctx context.Context, id, why string) error {
	return e.Live.Approve(ctx, id, why)
}

// Freeze implements Operator.
func (e *Either) Freeze(ctx context.Context, f status.FreezeRequest, why string) error {
	return e.do(func(o Operator) error { return o.Freeze(ctx, f, why) })
}

// Unfreeze implements Operator.
func (e *Either) Unfreeze(ctx context.Context, name, why string) error {
	return e.do(func(o Operator) error { return o.Unfreeze(ctx, name, why) })
}

// RollbackPlan implements Operator. It is only a preview: the rollback itself tells if it runs without the daemon.
func (e *Either) RollbackPlan(ctx context.Context, generation int) (status.RollbackPlan, error) {
	quiet := *e
	return either(&quiet, "", func(o Operator) (status.RollbackPlan, error) { return o.RollbackPlan(ctx, generation) })
}

// Rollback implements Operator.
func (e *Either) Rollback(ctx context.Context, generation int, why string) (status.RollbackResult, error) {
	return either(e, byHand, func(o Operator) (status.RollbackResult, error) { return o.Rollback(ctx, generation, why) })
}
