package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"swallowkeeper/config"
	"swallowkeeper/guard/replay"
	"swallowkeeper/internal/setting"
	"swallowkeeper/operate"
	"swallowkeeper/persist"
	"swallowkeeper/persist/record"
	"swallowkeeper/status"
)

// simulateFlags are the flags of a simulation.
type simulateFlags struct {
	history, events string
	limits          []string
	since, until    moment
	output          *format
}

func (p *program) simulateCommand() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use: "simulate", Args: takes(0, 0),
		Short: "Replay recorded changes to see what the guard would have held with other limits",
		Long: `simulate replays what the daemon recorded and lets the guard decide again: with the
configured limits, and with those given by --guard. It prints each hold, its reason, what
became of its servers, and what the configured limits did with them. It needs no daemon,
and changes nothing. docs/guard.md explains what is recorded and what is not.

Without --history and --events it reads the history of the configured conf file. It exits
with 0 whatever would have been held, 1 if there is nothing to replay or it can't be read,
and 2 on wrong usage or configuration.`,
		Example: `  swallowkeeper simulate --guard max_removal_window=0.3
  swallowkeeper simulate --guard max_removal=0.2,window=30m --since 1d
  swallowkeeper simulate --history /var/lib/swallowkeeper/.dyups.upstream.conf.history --guard hold_for=10m
  swallowkeeper simulate --events record.jsonl --since 2026-11-30T02:00:00Z -o json
  zcat record.jsonl.gz | swallowkeeper simulate --events - --guard max_removal_window=0.3`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.simulate(cmd.Context(), f, cmd.InOrStdin())
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.history, "history", "", "replay this history `DIR`, or the history of this conf file")
	flags.StringVar(&f.events, "events", "", "replay this record `FILE` instead (- is standard input)")
	flags.StringArrayVar(&f.limits, "guard", nil, "try this `KEY=VALUE` of [guard], e.g. max_removal_window=0.3; may be repeated, or separated by commas")
	flags.Var(&f.since, "since", "ignore holds that ended before a `TIME`, or a duration before the end, e.g. 1d")
	flags.Var(&f.until, "until", "stop at a `TIME`, or a duration before the record's end")
	f.output = outputFlag(c, "")
	_ = c.MarkFlagDirname("history")
	_ = c.MarkFlagFilename("events", "jsonl")
	_ = c.RegisterFlagCompletionFunc("guard", func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before, last := "", begun
		if i := strings.LastIndex(begun, ","); i >= 0 {
			before, last = begun[:i+1], begun[i+1:]
		}
		var words []string
		for _, key := range beginning(config.LimitKeys(), last) {
			words = append(words, before+key+"=")
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	return c
}

// limitWords returns the values of --guard, one limit each.
func (f simulateFlags) limitWords() []string {
	var words []string
	for _, given := range f.limits {
		for word := range strings.SplitSeq(given, ",") {
			words = append(words, strings.TrimSpace(word))
		}
	}
	return words
}

// replayable is a source of moments to replay.
type replayable struct {
	name        string
	generations int
	moments     func() iter.Seq[replay.Moment]
	notes       func() []string
	err         func() error
	close       func() error
	once        bool // can be read only once
}

func (p *program) simulate(ctx context.Context, f simulateFlags, stdin io.Reader) error {
	if f.history != "" && f.events != "" {
		return errors.New("--history and --events both say what to replay: give one of them")
	}
	tried, today, err := operate.Kinds().TryLimits(p.configPath, p.env, p.overrides(), f.limitWords())
	if err != nil {
		return operate.Exit(status.ExitUsage, err)
	}
	src, err := f.open(today.Persist.Path, stdin)
	if err != nil {
		return operate.Exit(status.ExitFailed, err)
	}
	defer func() { _ = src.close() }() // it was opened read-only
	until, progress := f.until.time, p.progress()
	defer progress.end()
	if f.until.before > 0 {
		if src.once {
			return operate.Exit(status.ExitUsage, errors.New("--until: standard input can be read once only: give a time"))
		}
		until = lastOf(progress.of(src.moments())).Add(-f.until.before)
	}
	report := replay.Limits(tried.Guard, today.Guard, progress.of(stoppable(ctx, src.moments())), until)
	progress.end()
	if err := errors.Join(ctx.Err(), src.err()); err != nil {
		return operate.Exit(status.ExitFailed, err)
	}
	if report.Decisions == 0 {
		return operate.Exit(status.ExitFailed, fmt.Errorf("%s has no decision to replay%s", src.name, inBrief(src.notes())))
	}
	switch {
	case f.since.before > 0:
		report = report.Since(report.To.Add(-f.since.before))
	case !f.since.time.IsZero():
		report = report.Since(f.since.time)
	}
	if src.generations > 0 { // the history does not record under which limits they were accepted
		report.Then, report.Unlike = nil, 0
	}
	return p.printSimulation(simulationOf(report, src, tried, today), f.output)
}

func inBrief(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return ": " + strings.Join(notes, "; ")
}

// open opens the source to replay.
func (f simulateFlags) open(conf string, stdin io.Reader) (*replayable, error) {
	if f.events != "" {
		return openEvents(f.events, stdin)
	}
	folder := f.history
	if folder == "" {
		var err error
		if folder, err = persist.HistoryFolder(conf); err != nil {
			return nil, err
		}
	}
	r, err := persist.OpenRecorded(folder)
	if err != nil {
		if f.history == "" {
			err = fmt.Errorf("%w; --history and --events name another one", err)
		}
		return nil, err
	}
	return &replayable{name: r.Folder, generations: r.Generations, moments: r.Moments, notes: r.Notes, err: r.Err, close: r.Close}, nil
}

// openEvents opens a record file.
func openEvents(path string, stdin io.Reader) (*replayable, error) {
	src := &replayable{name: path, close: func() error { return nil }}
	in, seek := stdin, func() error { return nil }
	if src.once = path == "-"; src.once {
		src.name = "standard input"
	} else {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the record: %w", err)
		}
		if info, err := file.Stat(); err != nil || info.IsDir() {
			return nil, errors.Join(err, fmt.Errorf("read the record: %s is a folder: --history takes one", path), file.Close())
		} else if !info.Mode().IsRegular() {
			src.once = true
		} else {
			seek = func() error { _, err := file.Seek(0, io.SeekStart); return err }
		}
		in, src.close = file, file.Close
	}
	var failed error
	var d *record.Decoder
	src.moments = func() iter.Seq[replay.Moment] {
		return func(yield func(replay.Moment) bool) {
			d, failed = &record.Decoder{}, seek()
			if failed != nil {
				return
			}
			for m, err := range d.Moments(src.name, in) {
				if failed = err; err != nil || !yield(m) {
					return
				}
			}
		}
	}
	src.notes = func() []string { return d.Notes }
	src.err = func() error { return failed }
	return src, nil
}

// stoppable stops when the context ends.
func stoppable(ctx context.Context, moments iter.Seq[replay.Moment]) iter.Seq[replay.Moment] {
	return func(yield func(replay.Moment) bool) {
		for m := range moments {
			if ctx.Err() != nil || !yield(m) {
				return
			}
		}
	}
}

func lastOf(moments iter.Seq[replay.Moment]) (last time.Time) {
	for m := range moments {
		last = m.Now
	}
	return last
}

// moment is a flag for a time, or for a duration before another time.
type moment struct {
	text   string
	time   time.Time
	before time.Duration
}

const aMoment = `allowed is a time, e.g. 2026-11-30T02:14:00Z or "2026-11-30 02:14:00" (UTC), or a duration above 0s, e.g. 90s, 2h or 1d`

// Set implements pflag.Value.
func (m *moment) Set(text string) error {
	*m = moment{text: text}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05 UTC", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			m.time = t
			return nil
		}
	}
	d, err := setting.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New(aMoment)
	}
	m.before = d
	return nil
}

// String implements pflag.Value.
func (m *moment) String() string { return m.text }

// Type implements pflag.Value.
func (m *moment) Type() string { return "TIME" }
