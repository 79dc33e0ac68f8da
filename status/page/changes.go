package page

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

// Kinds of events that belong to a generation: see syncer.Event.
const generation, serverIn, serverOut, pushed = "generation", "server_in", "server_out", "pushed"

// change is a row of the timeline: a generation with all its events, or an event without one. changes.js follows the
// same rules.
type change struct {
	status.Event
	Moves  []move
	More   int // servers that came or went beyond those in Moves
	Causes []reason.Reason
	Live   time.Duration // of the slowest gateway; zero if none has reported
	Title  string
}

// move is what one upstream gained and lost.
type move struct {
	Upstream string
	In, Out  []string
}

// changes returns the rows, newest first.
func (h *handler) changes(language string, events []status.Event, most int) []change {
	rows := fold(events)
	slices.Reverse(rows)
	rows = rows[:min(len(rows), most)]
	for i := range rows {
		rows[i].Title = h.title(language, rows[i])
	}
	return rows
}

// fold merges all events of a generation into one row, in the order of their first event.
func fold(events []status.Event) []change {
	at := map[int]int{}
	var rows []change
	for _, e := range events {
		if e.Generation == 0 || !ofGeneration(e.Kind) {
			rows = append(rows, change{Event: e})
			continue
		}
		i, there := at[e.Generation]
		if !there {
			i = len(rows)
			at[e.Generation] = i
			rows = append(rows, change{Event: e})
		}
		rows[i].take(e)
	}
	return rows
}

func ofGeneration(kind string) bool {
	return slices.Contains([]string{generation, serverIn, serverOut, pushed}, kind)
}

// take adds an event of the same generation.
func (c *change) take(e status.Event) {
	switch e.Kind {
	case generation:
		c.Kind, c.Text, c.By, c.Why, c.In, c.Out, c.Time = e.Kind, e.Text, e.By, e.Why, e.In, e.Out, e.Time
	case pushed:
		c.Live = max(c.Live, time.Duration(e.TookMS*float64(time.Millisecond)))
	default:
		i := slices.IndexFunc(c.Moves, func(m move) bool { return m.Upstream == e.Upstream })
		if i < 0 {
			i = len(c.Moves)
			c.Moves = append(c.Moves, move{Upstream: e.Upstream})
		}
		if e.Kind == serverIn {
			c.Moves[i].In = append(c.Moves[i].In, e.Addr)
		} else {
			c.Moves[i].Out = append(c.Moves[i].Out, e.Addr)
		}
		if !e.Cause.IsZero() && !slices.Contains(c.Causes, e.Cause) {
			c.Causes = append(c.Causes, e.Cause)
		}
	}
	told := 0
	for _, m := range c.Moves {
		told += len(m.In) + len(m.Out)
	}
	c.More = max(0, c.In+c.Out-told)
}

// title returns what changed and why: "web −1 · it is in maintenance". If no servers moved it is the event's text.
func (h *handler) title(language string, c change) string {
	if len(c.Moves) == 0 {
		return c.Text.In(language)
	}
	var parts []string
	for _, m := range c.Moves[:min(len(c.Moves), shownMoves)] {
		parts = append(parts, m.Upstream+counted(" +", len(m.In))+counted(" −", len(m.Out)))
	}
	if n := len(c.Moves) - shownMoves; n > 0 {
		parts = append(parts, h.texts.must(language, "names.more", "n", n))
	}
	if c.More > 0 {
		parts = append(parts, h.texts.must(language, "change.more", "n", c.More))
	}
	text := strings.Join(parts, ", ")
	for _, why := range c.Causes[:min(len(c.Causes), shownCauses)] {
		text += " · " + why.In(language)
	}
	if n := len(c.Causes) - shownCauses; n > 0 {
		text += " · " + h.texts.must(language, "change.reasons", "n", n)
	}
	return text
}

func counted(sign string, n int) string {
	if n == 0 {
		return ""
	}
	return sign + strconv.Itoa(n)
}

// Tone returns the kind that determines the row's colour. It distinguishes changes that only removed servers from those
// that only added some.
func (c change) Tone() string {
	in, out := 0, 0
	for _, m := range c.Moves {
		in, out = in+len(m.In), out+len(m.Out)
	}
	switch {
	case in == 0 && out > 0:
		return serverOut
	case out == 0 && in > 0:
		return serverIn
	}
	return c.Kind
}
