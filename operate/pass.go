package operate

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"swallowkeeper/generation"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
)

// Once are the options of a pass.
type Once = syncer.Once

// Pass is what one pass found and did, in the types of the API.
type Pass struct {
	ExitCode int                  `json:"exit_code"`
	DryRun   bool                 `json:"dry_run"`
	Error    string               `json:"error,omitempty"`
	File     status.Changes       `json:"file"`
	Hold     *status.Hold         `json:"hold,omitempty"`  // the first one
	Holds    []status.Hold        `json:"holds,omitempty"` // all of them, if there are several
	Unserved []status.Unserved    `json:"without_healthy_server,omitempty"`
	LeftOut  []LeftOut            `json:"left_out"`
	Gateways []status.GatewayPlan `json:"gateways"`
}

// LeftOut is an instance that is registered but receives no traffic, or a route that is out.
type LeftOut struct {
	Service string        `json:"service"`
	Addr    string        `json:"addr,omitempty"`
	Route   string        `json:"route,omitempty"` // set for a route
	Reason  reason.Reason `json:"reason"`
	Code    string        `json:"code,omitempty"`  // of the reason
	Detail  reason.Reason `json:"detail,omitzero"` // the instance, and the output of its check
}

// Plan returns the pass as a plan of the API.
func (p Pass) Plan() status.Plan {
	plan := status.Plan{File: p.File, Hold: p.Hold, Holds: p.Holds, Gateways: []status.GatewayPlan{}}
	for _, g := range p.Gateways {
		g.Error = safetext.Line(g.Error)
		plan.Gateways = append(plan.Gateways, g)
	}
	return plan
}

// Pass makes one pass. The result is valid even with an error, which is one of the registries or of the conf file.
func (o *Offline) Pass(ctx context.Context, once Once) (Pass, error) {
	h, err := o.parts()
	if err != nil {
		return Pass{}, err
	}
	defer h.Close(o.Log)
	store, release, err := o.store(once.DryRun)
	if err != nil {
		return Pass{}, Exit(status.ExitFailed, err)
	}
	defer release()
	out, err := syncer.New(h.Parts(o.Config, store, o.Log)).RunOnce(ctx, once)
	return passOf(out, err, once.DryRun), err
}

// passOf returns what a pass found. If a dry run has changes for a gateway, the gateway counts as out of sync. A
// service without a healthy server is listed but is no failure: the pass did its job.
func passOf(out syncer.Outcome, err error, dryRun bool) Pass {
	plan := ShowPlan(out)
	p := Pass{
		DryRun: dryRun, File: plan.File, Hold: plan.Hold, Holds: plan.Holds, LeftOut: []LeftOut{}, Gateways: plan.Gateways,
	}
	for i, g := range out.Gateways {
		p.Gateways[i].InSync = g.InSync(dryRun)
		if g.Err != nil {
			p.Gateways[i].Error = g.Err.Error()
		}
	}
	if err != nil {
		p.Error = err.Error()
	}
	p.Unserved, _, _ = showOut(syncer.Status{Out: out.Out, Unserved: out.Unserved})
	for o := range out.Out.All() {
		p.LeftOut = append(p.LeftOut, LeftOut{Service: o.Service, Addr: o.Addr, Route: o.Route, Reason: o.Reason, Code: o.Reason.Code(), Detail: o.Detail()})
	}
	behind := slices.ContainsFunc(p.Gateways, func(g status.GatewayPlan) bool { return !g.InSync })
	p.ExitCode = status.JudgePass(err != nil, behind, len(out.Holds) > 0).ExitCode
	return p
}

// store opens the conf file: with its lock, or read-only for a dry run.
func (o *Offline) store(dryRun bool) (syncer.Store, func(), error) {
	if dryRun {
		return readOnly(o.Config.Persist.Path), func() {}, nil
	}
	file, err := persist.Open(o.Config.Persist, o.Log)
	if err != nil {
		return nil, nil, err
	}
	return file, func() { file.Release(o.Log) }, nil
}

// readOnly is the path of a conf file, for a pass that writes nothing.
type readOnly string

func (r readOnly) Load() (generation.Generation, error) {
	gen, _, err := persist.Read(string(r))
	return gen, err
}

func (r readOnly) Save(context.Context, generation.Generation) (generation.Generation, error) {
	return generation.Generation{}, fmt.Errorf("write %s: this pass only reads", string(r))
}

// SurviveBrokenPipe makes writes to a closed standard output or standard error return an error, instead of ending the
// program. It catches the signal, as an ignored one would be inherited by a check's command.
func SurviveBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
