package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/config"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// Simulation is the printed result of a replay.
type Simulation struct {
	Source      string         `json:"source"`
	Generations int            `json:"generations,omitempty"` // number of generations used for lack of a record
	From        time.Time      `json:"from"`
	To          time.Time      `json:"to"`
	Decisions   int            `json:"decisions"`
	Unlike      int            `json:"decided_otherwise,omitempty"` // by the daemon, under the same limits
	Limits      map[string]any `json:"limits"`
	Tried       []triedLimit   `json:"tried"`              // limits that differ from the configuration
	Then        []triedLimit   `json:"recorded,omitempty"` // limits that the daemon last had, if they differ from the configuration
	Holds       []simulated    `json:"holds"`
	NotHeld     []simulated    `json:"not_held"` // held under the configured limits, let through under these
	Notes       []string       `json:"notes"`
}

type triedLimit struct {
	Key           string `json:"key"`
	Value         any    `json:"value"`
	Configuration any    `json:"configuration"`
	text, is      string
}

// simulated is one hold of a replay.
type simulated struct {
	ID       string              `json:"id"`
	Rule     string              `json:"rule"`
	Upstream string              `json:"upstream,omitempty"`
	Reason   reason.Reason       `json:"reason"`
	Since    time.Time           `json:"since"`
	Until    time.Time           `json:"until"` // null: still held at the end
	Seconds  float64             `json:"seconds"`
	Servers  int                 `json:"servers"`  // kept because of it
	KeptOut  int                 `json:"kept_out"` // kept out because of it
	Some     []status.HeldServer `json:"some"`     // the first of them
	Became   becameReport        `json:"became"`
	Other    *otherReport        `json:"other_limits,omitempty"`
	Words    string              `json:"words"` // its outcome
}

type becameReport struct {
	End     string    `json:"end"` // open, resolved, replaced, within, approval, hold_for or proof
	Right   int       `json:"right"`
	RightAt time.Time `json:"right_at"` // of the last of them; null if none
	Through int       `json:"through"`  // removed by the end of the hold
}

// otherReport compares the result under the other limits.
type otherReport struct {
	Held    int `json:"held"`
	Through int `json:"through"`
}

func simulationOf(r replay.Report, src *replayable, tried, today config.Config) Simulation {
	s := Simulation{
		Source: src.name, Generations: src.generations, From: r.From.UTC(), To: r.To.UTC(), Decisions: r.Decisions, Unlike: r.Unlike,
		Limits: map[string]any{}, Tried: triedLimits(tried, today), Holds: simulatedHolds(r.Holds, r), NotHeld: simulatedHolds(r.NotHere, r),
		Notes: append([]string{}, src.notes()...),
	}
	for _, l := range tried.Limits() {
		s.Limits[l.Key] = l.Value
	}
	if len(r.Then) > 0 {
		then := today
		then.Guard = r.Then[0]
		s.Then = triedLimits(then, today)
	}
	if r.Unlike > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("after %d of %d decisions the replay differs from the daemon under the same limits: "+
			"it may have been another version", r.Unlike, r.Decisions))
	}
	return s
}

func triedLimits(tried, today config.Config) []triedLimit {
	is := today.Limits()
	all := []triedLimit{}
	for i, l := range tried.Limits() {
		if l.Text != is[i].Text {
			all = append(all, triedLimit{Key: l.Key, Value: l.Value, Configuration: is[i].Value, text: l.Text, is: is[i].Text})
		}
	}
	return all
}

func simulatedHolds(holds []replay.Hold, r replay.Report) []simulated {
	all := []simulated{}
	for _, h := range holds {
		end := h.Ended
		if end.IsZero() {
			end = r.To
		}
		s := simulated{
			ID: h.ID, Rule: h.Rule, Upstream: h.Upstream, Reason: h.Reason, Since: h.Began.UTC(), Until: h.Ended.UTC(),
			Seconds: end.Sub(h.Began).Seconds(), Servers: h.Kept, KeptOut: h.KeptOut, Some: []status.HeldServer{},
			Became: becameReport{End: h.By, Right: h.Right, RightAt: h.RightAt.UTC(), Through: h.Went}, Words: became(h),
		}
		if r.OtherLimits {
			s.Other = &otherReport{h.Elsewhere.Held, h.Elsewhere.Through}
		}
		for _, id := range h.Servers {
			s.Some = append(s.Some, status.HeldServer{Upstream: id.Upstream, Addr: id.Addr.String()})
		}
		all = append(all, s)
	}
	return all
}

// became describes the outcome of a hold.
func became(h replay.Hold) string {
	all := h.Kept + h.KeptOut
	after := func(t time.Time) string { return lasted(t.Sub(h.Began)) }
	var said []string
	switch h.By {
	case replay.Open:
		said = append(said, "held at the end")
	case replay.Resolved:
	case replay.Replaced:
		said = append(said, "another hold continued with what was missing")
	case guard.ByApproval:
		said = append(said, "an operator approved it after "+after(h.Ended))
	case guard.ByTime:
		said = append(said, "hold_for let it through after "+after(h.Ended))
	case guard.ByProof:
		said = append(said, "none accepted a connection: let through after "+after(h.Ended))
	default:
		said = append(said, fmt.Sprintf("%d were let through after %s", h.Went, after(h.Ended)))
	}
	back, none := "came back", "none came back by the end"
	if h.Kept == 0 {
		back, none = "were gone again", "none was gone again by the end"
	}
	switch h.Right {
	case 0:
		said = append(said, none)
	case all:
		said = append(said, fmt.Sprintf("%d of %d %s, the last after %s: the hold was right", h.Right, all, back, after(h.RightAt)))
	default:
		said = append(said, fmt.Sprintf("%d of %d %s by the end, the last after %s", h.Right, all, back, after(h.RightAt)))
	}
	return strings.Join(said, "; ")
}

// lasted formats a duration for people.
func lasted(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Millisecond)
	}
	l := length(d)
	return cmp.Or(l.String(), "0s")
}

func (p *program) printSimulation(s Simulation, output *format) error {
	if *output != asText {
		return output.encode(p.stdout, s)
	}
	c := newPalette(p.isTerminal(p.stdout))
	say := func(format string, a ...any) { fmt.Fprintln(p.stdout, safetext.Screen(fmt.Sprintf(format, a...))) }
	say("%s: %s to %s (%s), %d decisions", safetext.Line(s.Source), operate.When(s.From), operate.When(s.To), lasted(s.To.Sub(s.From)), s.Decisions)
	if s.Generations > 0 {
		say("there is no record: this replays %d generations, which have only what was accepted, not what was held or unhealthy", s.Generations)
	}
	for _, note := range s.Notes {
		say("%s", c.bad(safetext.Line(note)))
	}
	switch {
	case len(s.Tried) > 0:
		say("limits: as configured, except %s", limitWords(s.Tried, "there"))
	default:
		say("limits: as configured")
	}
	if len(s.Then) > 0 {
		say("the daemon had others, most recently %s", limitWords(s.Then, "the configuration has"))
	}
	say("")
	if len(s.Holds) == 0 {
		say("nothing would have been held")
	} else {
		say("%s:", plural(len(s.Holds), "hold"))
		s.print(say, c, s.Holds, "with the configured limits")
	}
	if len(s.NotHeld) > 0 {
		say("")
		say("held with the configured limits, and let through with these: %s:", plural(len(s.NotHeld), "hold"))
		s.print(say, c, s.NotHeld, "with these limits")
	}
	return nil
}

// namedServers is how many servers of a hold are named on its line.
const namedServers = 3

func (s Simulation) print(say func(string, ...any), c palette, holds []simulated, others string) {
	for _, h := range holds {
		say("")
		say("%s  %s", operate.When(h.Since), c.bad(h.Reason.String()))
		held := "held for " + lasted(time.Duration(h.Seconds*float64(time.Second)))
		what := plural(h.Servers, "server") + " stayed"
		if h.Servers == 0 {
			what = plural(h.KeptOut, "server") + " did not get in"
		}
		say("    %s by %s: %s: %s", held, strings.TrimSpace(h.Rule+" "+safetext.Line(h.Upstream)), what, h.names())
		say("    %s", h.Words)
		if h.Other == nil {
			continue
		}
		switch through, all := h.Other.Through, h.Servers+h.KeptOut; through {
		case 0:
			say("    %s: held too", others)
		case all:
			say("    %s: let through", others)
		default:
			say("    %s: %d let through, %d held too", others, through, h.Other.Held)
		}
	}
}

func (s simulated) names() string {
	var words []string
	last := ""
	for _, server := range s.Some[:min(len(s.Some), namedServers)] {
		if server.Upstream != last {
			words = append(words, safetext.Line(server.Upstream))
			last = server.Upstream
		}
		words = append(words, server.Addr)
	}
	if more := s.Servers + s.KeptOut - namedServers; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, " ")
}

func limitWords(limits []triedLimit, there string) string {
	var words []string
	for _, l := range limits {
		words = append(words, fmt.Sprintf("%s = %s (%s %s)", l.Key, l.text, there, l.is))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
