package bench

import (
	"fmt"
	"slices"
	"strings"
)

// figure is a measured value. Less is always better.
type figure struct{ key, words, unit string }

var figures = []figure{
	{"first", "first request at the new server, p50", "ms"},
	{"last", "last old answer, p99", "ms"},
	{"change-cpu", "processor time of one change", "ms"},
	{"change-consul-cpu", "Consul's processor time of it", "ms"},
	{"change-written", "written to disk for it", "kB"},
	{"300-cpu", "300 changes at 10/s: processor time", "s"},
	{"300-requests", "requests to Consul", "requests"},
	{"300-consul-cpu", "Consul's processor time", "s"},
	{"300-written", "written to disk", "MB"},
	{"churn-lag-p50", "100 changes/s: lag p50", "ms"},
	{"churn-lag-p99", "lag p99", "ms"},
	{"churn-lag-worst", "worst lag", "ms"},
	{"churn-cpu", "share of a core", "%"},
	{"churn-consul-cpu", "Consul's share of a core", "%"},
	{"churn-written", "written to disk a second", "MB"},
	{"churn-settled", "in sync after the last change", "s"},
	{"churn-rss-begin", "memory at its beginning", "MB"},
	{"churn-rss-end", "memory at its end", "MB"},
	{"cold-start", "cold start, all workers right", "s"},
	{"cold-cpu", "its processor time", "s"},
	{"warm-start", "warm start, ready", "s"},
	{"warm-posts", "its POSTs and DELETEs", "calls"},
	{"warm-files", "its files written", "files"},
	{"warm-written", "written to disk by it, its lock and socket included", "kB"},
	{"rss", "memory, median", "MB"},
	{"idle", "idle, share of a core", "%"},
}

// goal is the maximum of one of our figures: an amount, or a multiple of another figure.
type goal struct {
	figure   string
	ways     []string
	services int
	most     float64
	times    func(r *Report, way string) (float64, bool) // nil: most is an amount
	what     string                                      // describes times
}

var (
	watched = []string{HTTPS, Plain}
	anyWay  = []string{HTTPS, Plain, OneNode}
)

func goals() []goal {
	floorAt := func(services int) func(*Report, string) (float64, bool) {
		return func(r *Report, way string) (float64, bool) { return r.Value("first", Floor, way, services) }
	}
	costAt50 := func(r *Report, way string) (float64, bool) { return r.Value("change-cpu", Ours, way, 50) }
	begin := func(r *Report, way string) (float64, bool) { return r.Value("churn-rss-begin", Ours, way, 1000) }
	return []goal{
		{"first", watched, 10, 1.3, floorAt(10), "floor"},
		{"first", watched, 1000, 1.5, floorAt(1000), "floor"},
		{"first", watched, 5000, 2, floorAt(5000), "floor"},
		{"first", []string{OneNode}, 1000, 100, nil, ""},
		{"first", []string{OneNode}, 5000, 600, nil, ""},
		{"last", watched, 1000, 10, nil, ""},
		{"last", watched, 5000, 20, nil, ""},
		{"change-cpu", watched, 50, 5, nil, ""},
		{"change-cpu", []string{HTTPS}, 5000, 1.5, costAt50, "that at 50"},
		{"change-cpu", []string{Plain}, 5000, 3, costAt50, "that at 50"},
		{"change-cpu", []string{OneNode}, 1000, 100, nil, ""},
		{"change-cpu", []string{OneNode}, 5000, 100, nil, ""},
		{"change-written", anyWay, 5000, 100, nil, ""},
		{"300-cpu", []string{HTTPS}, 1000, 2, nil, ""},
		{"300-requests", []string{HTTPS}, 1000, 1000, nil, ""},
		{"300-cpu", []string{OneNode}, 1000, 6, nil, ""},
		{"300-requests", []string{OneNode}, 1000, 3000, nil, ""},
		{"churn-lag-p99", anyWay, 1000, 150, nil, ""},
		{"churn-cpu", []string{HTTPS}, 1000, 15, nil, ""},
		{"churn-written", anyWay, 1000, 2, nil, ""},
		{"churn-rss-end", anyWay, 1000, 1.2, begin, "that at the beginning"},
		{"cold-start", anyWay, 5000, 4, nil, ""},
		{"warm-start", anyWay, 5000, 1.5, nil, ""},
		{"warm-posts", anyWay, 5000, 0, nil, ""},
		{"warm-files", anyWay, 5000, 0, nil, ""},
		{"rss", anyWay, 1000, 40, nil, ""},
		{"rss", anyWay, 5000, 80, nil, ""},
		{"idle", anyWay, 5000, 0.3, nil, ""},
	}
}

// judged returns the goal of a figure and whether it is met, both "" without a goal.
func (r *Report) judged(f figure, way string, services int) (want, met string) {
	all := goals()
	i := slices.IndexFunc(all, func(g goal) bool {
		return g.figure == f.key && g.services == services && slices.Contains(g.ways, way)
	})
	if i < 0 {
		return "", ""
	}
	g := all[i]
	most := g.most
	want = fmt.Sprintf("≤ %s %s", Amount(g.most), f.unit)
	if g.times != nil {
		want = fmt.Sprintf("≤ %s × %s", Amount(g.most), g.what)
		of, ok := g.times(r, way)
		if !ok {
			return want, "?"
		}
		most *= of
	}
	value, ok := r.Value(f.key, Ours, way, services)
	switch {
	case !ok:
		return want, ""
	case value <= most:
		return want, "yes"
	}
	return want, "**no**"
}

// Amount formats a number with three digits.
func Amount(v float64) string {
	if v >= 1000 {
		text := fmt.Sprintf("%.0f", v)
		return text[:len(text)-3] + "," + text[len(text)-3:]
	}
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	text := fmt.Sprintf("%.2g", v)
	if v >= 10 {
		text = fmt.Sprintf("%.3g", v)
	}
	return strings.TrimSuffix(text, ".0")
}
