package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/reason"
)

// Levels of a verdict.
const (
	LevelOK   = "ok"
	LevelWarn = "warn"
	LevelBad  = "bad"
)

// Codes of a verdict, worst first. The first that applies is used.
const (
	NotWritten      = "not_written"       // the conf file can't be written
	OutOfSync       = "not_in_step"       // a gateway is out of sync, or nothing was written yet
	NoHealthyServer = "no_healthy_server" // an upstream keeps its last servers, none of them usable
	ChangesHeld     = "held"              // the guard holds a change
	NotReady        = "not_ready"         // a registry can't be read
	WasDamaged      = "was_damaged"       // the conf file was damaged and replaced from the history
	AllFrozen       = "frozen"            // everything is frozen
	SomeFrozen      = "frozen_some"       // some upstreams are frozen
	InSync          = "in_step"
)

// Exit codes of commands that give a verdict.
const (
	ExitInSync    = 0
	ExitFailed    = 1
	ExitUsage     = 2 // wrong usage or configuration
	ExitHeld      = 3
	ExitOutOfSync = 4
)

// ExitCode returns the exit code with the highest precedence: a failure, then a gateway out of sync, then changes held
// by the guard.
func ExitCode(failed, outOfSync, held bool) int {
	switch {
	case failed:
		return ExitFailed
	case outOfSync:
		return ExitOutOfSync
	case held:
		return ExitHeld
	default:
		return ExitInSync
	}
}

// Verdict is the overall state in one line.
type Verdict struct {
	Level string        `json:"level"` // LevelOK, LevelWarn or LevelBad
	Code  string        `json:"code"`  // the worst code that applies
	Text  reason.Reason `json:"text"`
	// ExitCode is the exit code of the status command.
	ExitCode int `json:"exit_code"`
}

// Judge returns the verdict on a status. It is pure, and the only source of verdicts: the page, the commands and
// systemd's status line all use it.
func Judge(s Status) Verdict {
	trouble := slices.ContainsFunc(s.Registries, func(r Registry) bool { return r.Trouble != "" || r.Answered.IsZero() })
	behind := slices.ContainsFunc(s.Gateways, func(g Gateway) bool { return !g.InSync })
	v := Verdict{
		Level: LevelBad, Text: words(s),
		ExitCode: ExitCode(s.Alone || s.FileError != "" || trouble, behind, len(s.Holds)+len(s.Unserved) > 0),
	}
	switch {
	case s.FileError != "":
		v.Code = NotWritten
	case !s.InSync:
		v.Code = OutOfSync
	case len(s.Unserved) > 0:
		v.Code = NoHealthyServer
	case len(s.Holds) > 0:
		v.Level, v.Code = LevelWarn, ChangesHeld
	case !s.Ready:
		v.Level, v.Code = LevelWarn, NotReady
	case s.DamagedFile != "":
		v.Level, v.Code = LevelWarn, WasDamaged
	case everythingFrozen(s):
		v.Level, v.Code = LevelWarn, AllFrozen
	case len(s.Freezes) > 0:
		v.Level, v.Code = LevelWarn, SomeFrozen
	default:
		v.Level, v.Code = LevelOK, InSync
	}
	return v
}

// JudgePlan returns the verdict on what a pass would do: a gateway that needs something is out of sync. failed reports
// that a registry can't be read, or the conf file can't be written.
func JudgePlan(p Plan, failed bool) Verdict {
	behind := slices.ContainsFunc(p.Gateways, func(g GatewayPlan) bool {
		return g.Error != "" || len(g.Changes.Added)+len(g.Changes.Updated)+len(g.Changes.Removed) > 0
	})
	return JudgePass(failed, behind, len(p.Held()) > 0)
}

// JudgePass returns the verdict on a pass from its result.
func JudgePass(failed, outOfSync, held bool) Verdict {
	v := Verdict{Level: LevelBad, ExitCode: ExitCode(failed, outOfSync, held)}
	switch v.ExitCode {
	case ExitFailed:
		v.Code, v.Text = NotReady, notReady.With()
	case ExitOutOfSync:
		v.Code, v.Text = OutOfSync, saysOutOfSync.With()
	case ExitHeld:
		v.Level, v.Code, v.Text = LevelWarn, ChangesHeld, but.With(saysInSync.With(), holdsChanges.With())
	default:
		v.Level, v.Code, v.Text = LevelOK, InSync, saysInSync.With()
	}
	return v
}

// words returns everything that applies, worst first.
func words(s Status) reason.Reason {
	text, well := saysInSync.With(), false
	switch {
	case s.FileError != "":
		text = cannotWrite.With()
	case !s.InSync:
		text = saysOutOfSync.With()
	default:
		well = true
	}
	var more []reason.Reason
	switch n := len(s.Unserved); n {
	case 0:
	case 1:
		more = append(more, noHealthy.With(s.Unserved[0].Upstream))
	default:
		more = append(more, noneHealthy.With(n, UnservedNames(s)))
	}
	switch n := HeldChanges(s); {
	case n == 1:
		more = append(more, holdsOne.With())
	case n > 1:
		more = append(more, holdsSome.With(n))
	}
	if len(more) == 0 && well && !s.Ready {
		more = append(more, notReady.With())
	}
	if s.DamagedFile != "" {
		more = append(more, wasDamaged.With())
	}
	switch {
	case len(more) > 0 && well:
		return but.With(text, reason.Join(more...))
	case len(more) > 0:
		return reason.Join(append([]reason.Reason{text}, more...)...)
	case s.InSync && everythingFrozen(s):
		return andAllFrozen.With(text)
	case s.InSync && len(s.Freezes) > 0:
		return andFrozen.With(text, FrozenNames(s))
	}
	return text
}

func everythingFrozen(s Status) bool {
	return slices.ContainsFunc(s.Freezes, func(f Freeze) bool { return f.Name == Everything })
}

// HeldChanges returns how many removals the holds keep back. A hold on everything may keep back additions only; it then
// counts as one.
func HeldChanges(s Status) int {
	n := 0
	for _, h := range s.Holds {
		n += max(1, len(h.Servers))
	}
	return n
}

// UnservedNames returns the names of the first few upstreams without a healthy server, and the number of the others.
func UnservedNames(s Status) string {
	return few(len(s.Unserved), func(i int) string { return s.Unserved[i].Upstream })
}

// FrozenNames does the same for what is frozen.
func FrozenNames(s Status) string {
	return few(len(s.Freezes), func(i int) string { return s.Freezes[i].Name })
}

func few(n int, name func(int) string) string {
	const most = 3
	var names []string
	for i := range min(n, most) {
		names = append(names, name(i))
	}
	if n > most {
		names = append(names, fmt.Sprintf("%d more", n-most))
	}
	return strings.Join(names, ", ")
}

// Troubles of an upstream, worst first.
const (
	TroubleNoHealthy = "no_healthy_server"
	TroubleKept      = "held"     // unusable servers are kept
	TroubleMostOut   = "most_out" // at least half of its instances are out or marked down
	TroubleOut       = "out"      // some are
	TroubleFrozen    = "frozen"   // frozen
)

// rank returns the order of a trouble. No trouble comes last.
func rank(trouble string) int {
	return slices.Index([]string{TroubleNoHealthy, TroubleKept, TroubleMostOut, TroubleOut, TroubleFrozen, ""}, trouble)
}

// Trouble returns the worst trouble of an upstream, or "" if all of its servers simply serve. unserved reports that
// none of them is usable.
func Trouble(u Upstream, unserved bool) string {
	count := func(states ...string) (n int) {
		for _, server := range u.Servers {
			if slices.Contains(states, server.State) {
				n++
			}
		}
		return n
	}
	out := count(Out, Down)
	switch {
	case unserved:
		return TroubleNoHealthy
	case count(Held) > 0:
		return TroubleKept
	case out > 0 && 2*out >= len(u.Servers):
		return TroubleMostOut
	case out > 0:
		return TroubleOut
	case u.Frozen:
		return TroubleFrozen
	}
	return ""
}

// CompareTrouble orders upstreams by trouble, worst first, then by name.
func CompareTrouble(a, b Upstream) int {
	return cmp.Or(cmp.Compare(rank(a.Trouble), rank(b.Trouble)), strings.Compare(a.Name, b.Name))
}

// CountHeld counts a hold's servers that are deregistered, and those that are registered but unusable.
func CountHeld(h Hold) (gone, unusable int) {
	for _, s := range h.Servers {
		if s.Registered {
			unusable++
		} else {
			gone++
		}
	}
	return gone, unusable
}

// Alike groups the servers of an upstream that are in the same state for the same reason, in the order of the first of
// each group. Servers that simply serve are not grouped.
func Alike(servers []Server) [][]Server {
	type key struct {
		state, options string
		why            reason.Reason
	}
	at := map[key]int{}
	var groups [][]Server
	for _, s := range servers {
		k := key{s.State, s.Options, s.Reason}
		if i, there := at[k]; there && s.State != In {
			groups[i] = append(groups[i], s)
			continue
		}
		at[k] = len(groups)
		groups = append(groups, []Server{s})
	}
	return groups
}
