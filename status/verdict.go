package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Levels of a verdict.
const (
	LevelOK   = "ok"
	LevelWarn = "warn"
	LevelBad  = "bad"
)

// Codes of a verdict, the worst first. Of several the first that holds names it.
const (
	NotWritten      = "not_written"       // the conf file can't be written
	OutOfSync       = "not_in_step"       // a gateway is out of sync, or nothing was written yet
	NoHealthyServer = "no_healthy_server" // an upstream keeps its last servers, none of them usable
	ChangesHeld     = "held"              // the guard holds a change
	NotReady        = "not_ready"         // a registry can't be read
	WasDamaged      = "was_damaged"       // the conf file gave way to the history
	AllFrozen       = "frozen"            // everything is frozen
	SomeFrozen      = "frozen_some"       // single upstreams are
	InSync          = "in_step"
)

// Exit codes of the commands that give a verdict.
const (
	ExitInSync    = 0
	ExitFailed    = 1
	ExitUsage     = 2 // wrong usage or configuration
	ExitHeld      = 3
	ExitOutOfSync = 4
)

// ExitCode is the one of several that counts: what failed comes before a gateway that is out of sync, and
// that before what the guard keeps.
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

// Verdict is how things are, in one line.
type Verdict struct {
	Level string `json:"level"` // LevelOK, LevelWarn or LevelBad
	Code  string `json:"code"`  // names the worst that holds
	Text  string `json:"text"`
	// ExitCode is what the status command ends with.
	ExitCode int `json:"exit_code"`
}

// Judge gives the verdict on a status. It is pure, and the only place that does: the page, the commands
// and systemd's status line say what it says.
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

// JudgePlan gives the verdict on what a pass would do: a gateway that needs something is out of sync. failed says that a registry can't be read or the
// conf file not be written.
func JudgePlan(p Plan, failed bool) Verdict {
	behind := slices.ContainsFunc(p.Gateways, func(g GatewayPlan) bool {
		return g.Error != "" || len(g.Changes.Added)+len(g.Changes.Updated)+len(g.Changes.Removed) > 0
	})
	return JudgePass(failed, behind, len(p.Held()) > 0)
}

// JudgePass gives the verdict on a pass by what it led to.
func JudgePass(failed, outOfSync, held bool) Verdict {
	v := Verdict{Level: LevelBad, ExitCode: ExitCode(failed, outOfSync, held)}
	switch v.ExitCode {
	case ExitFailed:
		v.Code, v.Text = NotReady, "not ready"
	case ExitOutOfSync:
		v.Code, v.Text = OutOfSync, "out of sync"
	case ExitHeld:
		v.Level, v.Code, v.Text = LevelWarn, ChangesHeld, "in sync, but the guard holds changes"
	default:
		v.Level, v.Code, v.Text = LevelOK, InSync, "in sync"
	}
	return v
}

// words says all that holds at once, the worst first.
func words(s Status) string {
	text, and := "in sync", ", but "
	switch {
	case s.FileError != "":
		text, and = "the conf file can't be written", "; "
	case !s.InSync:
		text, and = "out of sync", "; "
	}
	var more []string
	switch n := len(s.Unserved); n {
	case 0:
	case 1:
		more = append(more, s.Unserved[0].Upstream+" has no healthy server")
	default:
		more = append(more, fmt.Sprintf("%d upstreams have no healthy server: %s", n, UnservedNames(s)))
	}
	switch n := HeldChanges(s); {
	case n == 1:
		more = append(more, "the guard holds 1 change")
	case n > 1:
		more = append(more, fmt.Sprintf("the guard holds %d changes", n))
	}
	if len(more) == 0 && s.InSync && !s.Ready && s.FileError == "" {
		more = append(more, "not ready")
	}
	if s.DamagedFile != "" {
		more = append(more, "the conf file was damaged")
	}
	switch {
	case len(more) > 0:
		text += and + strings.Join(more, "; ")
	case s.InSync && everythingFrozen(s):
		text += ", and everything is frozen"
	case s.InSync && len(s.Freezes) > 0:
		text += ", and frozen: " + FrozenNames(s)
	}
	return text
}

func everythingFrozen(s Status) bool {
	return slices.ContainsFunc(s.Freezes, func(f Freeze) bool { return f.Name == Everything })
}

// HeldChanges is how many removals the holds keep back. A hold on everything may keep back additions only:
// it counts as one.
func HeldChanges(s Status) int {
	n := 0
	for _, h := range s.Holds {
		n += max(1, len(h.Servers))
	}
	return n
}

// UnservedNames names a few of the upstreams without a healthy server, and says how many there are besides.
func UnservedNames(s Status) string {
	return few(len(s.Unserved), func(i int) string { return s.Unserved[i].Upstream })
}

// FrozenNames names a few of what is frozen, in the same way.
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

// Ranks of an upstream's trouble, the worst first.
const (
	TroubleNoHealthy = "no_healthy_server"
	TroubleKept      = "held"     // servers stay that are not usable
	TroubleMostOut   = "most_out" // half of its instances or more are out, or marked down
	TroubleOut       = "out"      // some are
	TroubleFrozen    = "frozen"   // nothing of it changes
)

// rank is the place of a trouble; without one is last.
func rank(trouble string) int {
	return slices.Index([]string{TroubleNoHealthy, TroubleKept, TroubleMostOut, TroubleOut, TroubleFrozen, ""}, trouble)
}

// Trouble is the worst that is so of an upstream, "" where all of its servers simply serve. unserved says
// that none of them is usable.
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

// CompareTrouble orders upstreams by their trouble, the worst first, then by name.
func CompareTrouble(a, b Upstream) int {
	return cmp.Or(cmp.Compare(rank(a.Trouble), rank(b.Trouble)), strings.Compare(a.Name, b.Name))
}

// CountHeld tells the servers of a hold that are deregistered from those that are registered and not usable.
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

// Alike puts the servers of one upstream together that are in the same state for the same reason, in the
// order of their first. Those that simply serve stay by themselves. Since is that of the first.
func Alike(servers []Server) [][]Server {
	type key struct{ state, reason, options string }
	at := map[key]int{}
	var groups [][]Server
	for _, s := range servers {
		k := key{s.State, s.Reason, s.Options}
		if i, there := at[k]; there && s.State != In {
			groups[i] = append(groups[i], s)
			continue
		}
		at[k] = len(groups)
		groups = append(groups, []Server{s})
	}
	return groups
}
