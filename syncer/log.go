package syncer

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// mostLines limits the log lines of one decision.
const mostLines = 50

// logChanges logs what a decision changed: a summary, then a line per upstream.
func logChanges(log logrus.FieldLogger, c upstream.Changes) {
	log.WithFields(counts(c)).WithField("upstreams", c.Want.Len()).Info("the changes are accepted and written")
	left := mostLines
	line := func(what string, was, is upstream.Upstream) {
		if left--; left < 0 {
			return
		}
		fields := logrus.Fields{"upstream": cmp.Or(is.Name, was.Name)}
		if in := without(addresses(is), addresses(was)); len(in) > 0 {
			fields["in"] = strings.Join(in, " ")
		}
		if out := without(addresses(was), addresses(is)); len(out) > 0 {
			fields["out"] = strings.Join(out, " ")
		}
		if in := without(routes(is), routes(was)); len(in) > 0 {
			fields["routes_in"] = strings.Join(in, ", ")
		}
		if out := without(routes(was), routes(is)); len(out) > 0 {
			fields["routes_out"] = strings.Join(out, ", ")
		}
		log.WithFields(fields).Info(what)
	}
	for _, u := range c.Added {
		line("an upstream is new", upstream.Upstream{}, u)
	}
	for _, u := range c.Updated {
		line("an upstream is changed", u.Old, u.New)
	}
	for _, u := range c.Removed {
		line("an upstream is removed", u, upstream.Upstream{})
	}
	if left < 0 {
		log.Infof("and %d upstreams more", -left)
	}
}

// mostText limits text from a registry in a log line, in bytes.
const mostText = 200

// logOut logs what is newly out, and why. The text comes from a registry; the log's formatter quotes it.
func logOut(log logrus.FieldLogger, before, now upstream.Outs) {
	left := mostLines
	var last upstream.Out
	for _, o := range before.Changed(now) {
		output := o.Output
		o.Output = ""
		if o == (upstream.Out{}) || o == last || wasOut(before, o) {
			continue
		}
		last = o
		if left--; left < 0 {
			continue
		}
		fields := logrus.Fields{"service": safetext.Cut(o.Service, mostText), "reason": safetext.Cut(o.Reason.String(), mostText)}
		if o.Addr != "" {
			fields["addr"] = safetext.Cut(o.Addr, mostText)
		}
		if o.Route != "" {
			fields["route"] = safetext.Cut(o.Route, mostText)
		}
		if o.Instance != "" {
			fields["instance"], fields["node"] = safetext.Cut(o.Instance, mostText), safetext.Cut(o.Node, mostText)
		}
		if output != "" {
			fields["output"] = safetext.Cut(output, mostText)
		}
		log.WithFields(fields).Warn("left out")
	}
	if left < 0 {
		log.Warnf("and %d left out more", -left)
	}
}

// wasOut reports whether an equal note was in before.
func wasOut(before upstream.Outs, o upstream.Out) bool {
	for p := range before.Of(cmp.Or(o.Upstream, o.Service)) {
		if p.Same(o) {
			return true
		}
	}
	return false
}

func logHolds(log logrus.FieldLogger, before, now []guard.Hold) {
	left := mostLines
	for _, h := range others(now, before) {
		if left--; left >= 0 {
			log.WithFields(logrus.Fields{"hold": h.ID, "rule": h.Rule, "servers": len(h.Removed) + len(h.KeptOut)}).Warn("held: " + h.Reason.String())
		}
	}
	for _, h := range others(before, now) {
		if left--; left >= 0 && !slices.ContainsFunc(now, h.Continued) {
			log.WithField("hold", h.ID).Info("the hold has ended")
		}
	}
	if left < 0 {
		log.Warnf("and %d holds more", -left)
	}
}

// others returns the holds of some that are not in among.
func others(some, among []guard.Hold) []guard.Hold {
	known := ids(among)
	return slices.DeleteFunc(slices.Clone(some), func(h guard.Hold) bool { return slices.Contains(known, h.ID) })
}

func addresses(u upstream.Upstream) []string {
	all := make([]string, len(u.Servers))
	for i, s := range u.Servers {
		all[i] = s.Addr.String()
	}
	return all
}

// routes returns an upstream's routes as written to the conf file, without origins.
func routes(u upstream.Upstream) []string {
	all := make([]string, len(u.Routes))
	for i, r := range u.Routes {
		r.Origin = ""
		all[i] = r.Text()
	}
	return all
}

// withRoute adds the route to the log fields, if o is about a route.
func withRoute(f logrus.Fields, o upstream.Out) logrus.Fields {
	if o.Route != "" {
		f["route"] = o.Route
	}
	return f
}
