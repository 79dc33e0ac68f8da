package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/guard"
)

// rates is how much each instance has recently served. It is only used while drawing, which is not concurrent.
type rates struct {
	at     time.Time
	before map[*instance]int64
	recent map[*instance]float64 // requests a redraw
}

// take adds the newest counts, and lets older ones fade.
func (r *rates) take(all []*instance) {
	if time.Since(r.at) < redraw*9/10 {
		return // a line was printed in between
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

// picture shows what the gateway's first worker uses, the load of each instance, and the controller's state.
func (s *stage) picture(width int) []string {
	all := s.services.all()
	s.rates.take(all)
	lines := []string{"", s.rule("the gateway's upstreams, live", width)}
	var pool map[string][]string
	if pools := s.pools(); len(pools) > 0 {
		pool = pools[0]
	}
	for _, name := range slices.Sorted(maps.Keys(pool)) {
		label, has := name, slices.Clone(pool[name])
		row := func(addr string, i *instance) {
			lines = append(lines, s.row(label, addr, i, width))
			label = ""
		}
		for _, i := range all { // oldest first
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

func (s *stage) rule(title string, width int) string {
	if title != "" {
		title = "── " + title + " "
	}
	return s.view.faint(title + strings.Repeat("─", max(0, min(width, 78)-columns(title))))
}

// row returns the row of a server; i is nil if it is not one of the demo's own.
func (s *stage) row(upstream, addr string, i *instance, width int) string {
	name, served, bar := "", "", ""
	switch {
	case i == nil:
	case i.sick.Load():
		name, served = i.name, s.view.bad("   unhealthy")
	case i.crashed.Load():
		name, served = i.name, s.view.bad("   dead, not yet out")
	default:
		name, served = i.name, fmt.Sprintf("%8d served", i.served.Load())
		// A full bar stands for everything that the client sends to a service.
		full := float64(min(24, width-56)) / (2 * float64(redraw/pause))
		bar = s.view.accent(strings.Repeat("█", max(0, int(full*s.rates.recent[i]+0.5))))
	}
	label := s.view.bold(fmt.Sprintf(" %-9s", upstream))
	return fmt.Sprintf("%s %-10s %-16s %s  %s", label, name, addr, served, bar)
}

// totals returns the line about requests and the controller.
func (s *stage) totals(width int) string {
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
		state, paint = "held: "+guard.Reasons(st.Holds).String(), s.view.warn
	case !st.InSync():
		state, paint = fmt.Sprintf("generation %d, on its way", st.Generation.Number), s.view.warn
	}
	state = cut(state, width-len(requests)-len(failed)-6)
	return requests + "   " + paintFailed(failed) + "   " + paint(state)
}

// servers returns the addresses in a worker's copy of an upstream.
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

// cut shortens text to a number of columns.
func cut(text string, width int) string {
	r := []rune(text)
	if len(r) <= width {
		return text
	}
	return string(r[:max(0, width-1)]) + "…"
}
