package operate

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// Once says how a pass goes about it.
type Once = syncer.Once

// Pass is what one pass found and did, in the API's words.
type Pass struct {
	ExitCode int                  `json:"exit_code"`
	DryRun   bool                 `json:"dry_run"`
	Error    string               `json:"error,omitempty"`
	File     status.Changes       `json:"file"`
	Hold     *status.Hold         `json:"hold,omitempty"`  // the first of several
	Holds    []status.Hold        `json:"holds,omitempty"` // all of them where there are several
	Unserved []status.Unserved    `json:"without_healthy_server,omitempty"`
	LeftOut  []LeftOut            `json:"left_out"`
	Gateways []status.GatewayPlan `json:"gateways"`
}

// LeftOut is one instance that is registered and gets no traffic.
type LeftOut struct {
	Service string `json:"service"`
	Addr    string `json:"addr,omitempty"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"` // which instance, and what its check said
}

// Plan is the pass as the API shows one that is to come.
func (p Pass) Plan() status.Plan {
	plan := status.Plan{File: p.File, Hold: p.Hold, Holds: p.Holds, Gateways: []status.GatewayPlan{}}
	for _, g := range p.Gateways {
		g.Error = safetext.Line(g.Error)
		plan.Gateways = append(plan.Gateways, g)
	}
	return plan
}

// Pass makes one pass. What it found comes with its error, which is one of the registries or of the conf file.
func (o *Offline) Pass(ctx context.Context, once Once) (Pass, error) {
	h, err := o.parts()
	if err != nil {
		return Pass{}, err
	}
	defer h.Close(o.Log)
	store, letGo, err := o.store(once.DryRun)
	if err != nil {
		return Pass{}, Exit(status.ExitFailed, err)
	}
	defer letGo()
	out, err := syncer.New(h.Parts(o.Config, store, o.Log)).RunOnce(ctx, once)
	return passOf(out, err, once.DryRun), err
}

// passOf tells what a pass found. A dry run that found changes for a gateway says that the gateway is
// out of sync. A service without a healthy server is named and does not count: the pass did its work.
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
	for _, o := range out.Out {
		p.LeftOut = append(p.LeftOut, LeftOut{Service: o.Service, Addr: o.Addr, Reason: o.Reason, Detail: o.Detail()})
	}
	behind := slices.ContainsFunc(p.Gateways, func(g status.GatewayPlan) bool { return !g.InSync })
	p.ExitCode = status.JudgePass(err != nil, behind, len(out.Holds) > 0).ExitCode
	return p
}

// store opens the conf file: with its lock, or, in a dry run, to be read only.
func (o *Offline) store(dryRun bool) (syncer.Store, func(), error) {
	if dryRun {
		return readOnly(o.Config.Persist.Path), func() {}, nil
	}
	file, err := persist.Open(o.Config.Persist, o.Log)
	if err != nil {
		return nil, nil, err
	}
	return file, func() { file.LetGo(o.Log) }, nil
}

// readOnly is the conf file at a path, for a pass that writes nothing.
type readOnly string

func (r readOnly) Load() (upstream.Generation, error) {
	gen, _, err := persist.Read(string(r))
	return gen, err
}

func (r readOnly) Save(context.Context, upstream.Generation) (upstream.Generation, error) {
	return upstream.Generation{}, fmt.Errorf("write %s: this pass only reads", string(r))
}

// SurviveBrokenPipe lets a write to standard output or standard error fail whose reader has gone: Go
// ends a program for that. Unlike an ignored signal a caught one is not handed on to a check's command.
func SurviveBrokenPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
