package syncer

import (
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// mostLines bounds what one decision may write to the log.
const mostLines = 50

// logChanges says what a decision changed: a line for all of it, then one an upstream.
func logChanges(log logrus.FieldLogger, c upstream.Changes) {
	log.WithFields(counts(c)).WithField("upstreams", c.Want.Len()).Info("the changes are accepted and written")
	left := mostLines
	line := func(name, what string, in, out []string) {
		if left--; left < 0 {
			return
		}
		fields := logrus.Fields{"upstream": name}
		if len(in) > 0 {
			fields["in"] = strings.Join(in, " ")
		}
		if len(out) > 0 {
			fields["out"] = strings.Join(out, " ")
		}
		log.WithFields(fields).Info(what)
	}
	for _, u := range c.Added {
		line(u.Name, "an upstream is new", addresses(u), nil)
	}
	for _, u := range c.Updated {
		was, is := addresses(u.Old), addresses(u.New)
		line(u.New.Name, "an upstream is changed", without(is, was), without(was, is))
	}
	for _, u := range c.Removed {
		line(u.Name, "an upstream is removed", nil, addresses(u))
	}
	if left < 0 {
		log.Infof("and %d upstreams more", -left)
	}
}

// mostText bounds what a registry wrote in a line of the log, in bytes.
const mostText = 200

// logOut says what is newly left out of nginx, and why. Its text comes from a
// registry: the log's formatter quotes it.
func logOut(log logrus.FieldLogger, before, now []upstream.Out) {
	left := mostLines
	known := make(map[upstream.Out]bool, len(before)) // thousands may be out during an outage
	for _, o := range before {
		o.Output = ""
		known[o] = true
	}
	for _, o := range now {
		output := o.Output
		o.Output = ""
		if known[o] {
			continue
		}
		if left--; left < 0 {
			continue
		}
		fields := logrus.Fields{"service": safetext.Cut(o.Service, mostText), "reason": safetext.Cut(o.Reason, mostText)}
		if o.Addr != "" {
			fields["addr"] = safetext.Cut(o.Addr, mostText)
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

func logHolds(log logrus.FieldLogger, before, now []guard.Hold) {
	left := mostLines
	for _, h := range others(now, before) {
		if left--; left >= 0 {
			log.WithFields(logrus.Fields{"hold": h.ID, "rule": h.Rule, "servers": len(h.Removed) + len(h.KeptOut)}).Warn("held: " + h.Reason)
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

// others are those of some holds that are not among some other ones.
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
