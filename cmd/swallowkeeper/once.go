package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// once is one pass. What it found goes to standard output, what went wrong to
// standard error, and the verdict is the exit code.
func (p *program) once(ctx context.Context, flags onceFlags) error {
	if err := flags.validate(); err != nil {
		return err
	}
	surviveBrokenPipe() // half a pass is worse than one whose words nobody reads
	cfg, err := p.load()
	if err != nil {
		return err
	}
	log := p.logger(cfg.Log)
	h, err := build(cfg, log, meters{})
	if err != nil {
		return exit(exitUsage, err)
	}
	defer h.close(log)
	store, letGo, err := storeFor(cfg.Persist, flags.dryRun, log)
	if err != nil {
		return exit(exitFailed, err)
	}
	defer letGo()

	out, err := syncer.New(h.parts(cfg, store, log)).RunOnce(ctx,
		syncer.Once{Limit: time.Duration(*flags.timeout), DryRun: flags.dryRun, Approve: flags.approve, Signed: flags.reason.signed()})
	code := exitCode(out, err, flags.dryRun)
	if *flags.output != asText {
		if printErr := flags.output.encode(p.stdout, reportOf(out, err, code, flags.dryRun)); printErr != nil {
			return exit(exitFailed, printErr)
		}
	} else {
		printText(p.stdout, out, flags.dryRun, p.isTerminal(p.stdout))
	}
	switch {
	case err != nil:
		return exit(code, err)
	case code != exitInSync:
		return exit(code, errSaid)
	default:
		return nil
	}
}

// storeFor opens the conf file: with its lock, or, in a dry run, to be read only.
func storeFor(cfg persist.Config, dryRun bool, log logger) (syncer.Store, func(), error) {
	if dryRun {
		return readOnly(cfg.Path), func() {}, nil
	}
	file, err := persist.Open(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	return file, func() {
		if err := file.Close(); err != nil {
			log.WithError(err).Warn("the conf file's lock is not given back cleanly")
		}
	}, nil
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

// exitCode is the verdict of one pass. A dry run that found changes for a gateway says that the gateway is
// out of sync. A service without a healthy server is named and does not count: the pass did its work.
func exitCode(out syncer.Outcome, err error, dryRun bool) int {
	behind := slices.ContainsFunc(out.Gateways, func(g syncer.GatewayOutcome) bool { return !g.InSync(dryRun) })
	return status.ExitCode(err != nil, behind, len(out.Holds) > 0)
}

// report is what is printed for machines.
type report struct {
	ExitCode int              `json:"exit_code"`
	DryRun   bool             `json:"dry_run"`
	Error    string           `json:"error,omitempty"`
	File     changesReport    `json:"file"`
	Hold     *holdReport      `json:"hold,omitempty"`  // the first of several
	Holds    []holdReport     `json:"holds,omitempty"` // all of them where there are several
	Unserved []unservedReport `json:"without_healthy_server,omitempty"`
	LeftOut  []leftOutReport  `json:"left_out"`
	Gateways []gatewaysReport `json:"gateways"`
}

type changesReport struct {
	Added   []upstreamReport `json:"added"`
	Updated []updateReport   `json:"updated"`
	Removed []upstreamReport `json:"removed"`
}

type upstreamReport struct {
	Name  string   `json:"name"`
	Lines []string `json:"lines"`
}

type updateReport struct {
	Name string   `json:"name"`
	In   []string `json:"in"`
	Out  []string `json:"out"`
}

type holdReport struct {
	ID       string       `json:"id"`
	Rule     string       `json:"rule"`
	Upstream string       `json:"upstream,omitempty"`
	Reason   string       `json:"reason"`
	Servers  []heldReport `json:"servers"`
	KeptOut  int          `json:"kept_out,omitempty"`
}

type heldReport struct {
	Upstream string `json:"upstream"`
	Addr     string `json:"addr"`
}

type unservedReport struct {
	Upstream string `json:"upstream"`
	Servers  int    `json:"servers"`
}

type leftOutReport struct {
	Service string `json:"service"`
	Addr    string `json:"addr,omitempty"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"` // which instance, and what its check said
}

type gatewaysReport struct {
	Name    string        `json:"name"`
	InSync  bool          `json:"in_step"`
	Error   string        `json:"error,omitempty"`
	Changes changesReport `json:"changes"`
}

func reportOf(out syncer.Outcome, err error, code int, dryRun bool) report {
	r := report{
		ExitCode: code, DryRun: dryRun, File: reportChanges(out.Written),
		LeftOut: []leftOutReport{}, Gateways: []gatewaysReport{},
	}
	for _, u := range out.Unserved {
		r.Unserved = append(r.Unserved, unservedReport{Upstream: u.Upstream, Servers: u.Servers})
	}
	if err != nil {
		r.Error = err.Error()
	}
	for _, h := range out.Holds {
		held := holdReport{ID: h.ID, Rule: h.Rule, Upstream: h.Upstream, Reason: h.Reason, Servers: []heldReport{}, KeptOut: len(h.KeptOut)}
		for _, s := range h.Removed {
			held.Servers = append(held.Servers, heldReport{Upstream: s.Upstream, Addr: s.Addr.String()})
		}
		r.Holds = append(r.Holds, held)
	}
	if len(r.Holds) > 0 {
		r.Hold = &r.Holds[0]
	}
	if len(r.Holds) == 1 {
		r.Holds = nil
	}
	for _, o := range out.Out {
		r.LeftOut = append(r.LeftOut, leftOutReport{Service: o.Service, Addr: o.Addr, Reason: o.Reason, Detail: o.Detail()})
	}
	for _, g := range out.Gateways {
		gr := gatewaysReport{Name: g.Name, InSync: g.InSync(dryRun), Changes: reportChanges(g.Changes)}
		if g.Err != nil {
			gr.Error = g.Err.Error()
		}
		r.Gateways = append(r.Gateways, gr)
	}
	return r
}

func reportChanges(c upstream.Changes) changesReport {
	r := changesReport{Added: []upstreamReport{}, Updated: []updateReport{}, Removed: []upstreamReport{}}
	for _, u := range c.Added {
		r.Added = append(r.Added, upstreamReport{Name: u.Name, Lines: lines(u)})
	}
	for _, u := range c.Updated {
		in, gone := lineDiff(u)
		r.Updated = append(r.Updated, updateReport{Name: u.New.Name, In: in, Out: gone})
	}
	for _, u := range c.Removed {
		r.Removed = append(r.Removed, upstreamReport{Name: u.Name, Lines: lines(u)})
	}
	return r
}
