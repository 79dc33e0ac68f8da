package operate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

func summary(c upstream.Changes) string {
	return counted(len(c.Added), len(c.Updated), len(c.Removed))
}

func counted(added, updated, removed int) string {
	if added+updated+removed == 0 {
		return "no changes"
	}
	return fmt.Sprintf("%d added, %d updated, %d removed", added, updated, removed)
}

// lines is an upstream as nginx reads it, a directive a line.
func lines(u upstream.Upstream) []string {
	return strings.FieldsFunc(string(nginxconf.AppendBody(nil, u)), func(r rune) bool { return r == '\n' })
}

// lineDiff is what an update puts in and takes out.
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

// When is a time as a person reads it.
func When(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
