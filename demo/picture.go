package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
)

// rates is how much each instance served of late. Only the picture uses it, and that is
// drawn by one at a time.
type rates struct {
	at     time.Time
	before map[*instance]int64
	recent map[*instance]float64 // requests a redraw
}

// take looks at the newest counts and lets the older ones fade.
func (r *rates) take(all []*instance) {
	if time.Since(r.at) < redraw*9/10 {
		return // a line was said in between
	}
	r.at = time.Now()
	if r.recent == nil {
		r.before, r.recent = map[*instance]int64{}, map[*instance]float64{}
	}
	for _, i := range all {
		n := i.served.Load()
		r.recent[i] = 0.75*r.recent[i] + 0.25*float64(n-r.before[i])
		r.before[i] = n
	}
}

// picture is what the gateway's first worker uses now, who serves how much, and how
// the controller is.
func (s *story) picture(width int) []string {
	all := s.services.all()
	s.rates.take(all)
	lines := []string{"", s.rule("the gateway's upstreams, live", width)}
	copied := s.gateway.Workers()[0].Upstreams
	for _, name := range slices.Sorted(maps.Keys(copied)) {
		label, has := name, servers(copied[name])
		row := func(addr string, i *instance) {
			lines = append(lines, s.row(label, addr, i, width))
			label = ""
		}
		for _, i := range all { // the oldest first
			if at := slices.Index(has, i.addr); at >= 0 {
				row(i.addr, i)
				has = slices.Delete(has, at, at+1)
			}
		}
		for _, addr := range has {
			row(addr, nil)
		}
	}
	return append(lines, s.rule("", width), s.totals(width))
}

func (s *story) rule(title string, width int) string {
	if title != "" {
		title = "── " + title + " "
	}
	return s.view.faint(title + strings.Repeat("─", max(0, min(width, 78)-columns(title))))
}

// row is one server of an upstream; i is nil where it is not one of the demo's own.
func (s *story) row(upstream, addr string, i *instance, width int) string {
	name, served, bar := "", "", ""
	switch {
	case i == nil:
	case i.crashed.Load():
		name, served = i.name, s.view.bad("   dead, not yet out")
	default:
		name, served = i.name, fmt.Sprintf("%8d served", i.served.Load())
		// A full bar is all that the client sends to one service.
		full := float64(min(24, width-56)) / (2 * float64(redraw/pause))
		bar = s.view.accent(strings.Repeat("█", max(0, int(full*s.rates.recent[i]+0.5))))
	}
	label := s.view.bold(fmt.Sprintf(" %-9s", upstream))
	return fmt.Sprintf("%s %-10s %-16s %s  %s", label, name, addr, served, bar)
}

// totals is the line on requests and on the controller.
func (s *story) totals(width int) string {
	count := s.client.count()
	requests, failed := fmt.Sprintf(" requests %d", sum(count.requests)), fmt.Sprintf("failed %d", sum(count.failed))
	paintFailed := s.view.good
	if sum(count.failed) > 0 {
		paintFailed = s.view.bad
	}
	st := s.status()
	state, paint := fmt.Sprintf("generation %d, in sync", st.Generation.Number), s.view.faint
	switch {
	case len(st.Holds) > 0:
		state, paint = "held: "+guard.Reasons(st.Holds), s.view.warn
	case !st.InSync():
		state, paint = fmt.Sprintf("generation %d, on its way", st.Generation.Number), s.view.warn
	}
	state = cut(state, width-len(requests)-len(failed)-6)
	return requests + "   " + paintFailed(failed) + "   " + paint(state)
}

// servers lists the addresses in a worker's copy of an upstream.
func servers(block string) []string {
	var addrs []string
	for line := range strings.Lines(block) {
		if rest, ok := strings.CutPrefix(line, "server "); ok {
			addr, _, _ := strings.Cut(rest, " ")
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// cut ends text that is too long for so many columns.
func cut(text string, width int) string {
	r := []rune(text)
	if len(r) <= width {
		return text
	}
	return string(r[:max(0, width-1)]) + "…"
}
