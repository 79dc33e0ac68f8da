package operate

import (
	"slices"
	"strings"
	"time"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func summary(c upstream.Changes) reason.Reason {
	return counted(len(c.Added), len(c.Updated), len(c.Removed))
}

func counted(added, updated, removed int) reason.Reason {
	if added+updated+removed == 0 {
		return changesNone.With()
	}
	return changesCounted.With(added, updated, removed)
}

// lines returns an upstream in nginx syntax, a directive per line, with its routes as comments.
func lines(u upstream.Upstream) []string {
	return append(routeLines(u), strings.FieldsFunc(string(nginxconf.AppendBody(nil, u)), func(r rune) bool { return r == '\n' })...)
}

// lineDiff returns the lines that an update adds and removes.
func lineDiff(u upstream.Update) (in, gone []string) {
	was, is := lines(u.Old), lines(u.New)
	in, gone = []string{}, []string{}
	for _, l := range is {
		if !slices.Contains(was, l) {
			in = append(in, l)
		}
	}
	for _, l := range was {
		if !slices.Contains(is, l) {
			gone = append(gone, l)
		}
	}
	return in, gone
}

// When formats a time for people.
func When(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
