package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fatih/color"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

type logger = logrus.FieldLogger

// palette is the colours of a terminal, or none in a pipe.
type palette struct{ in, out, name, bad, good func(a ...any) string }

func newPalette(colours bool) palette {
	paint := func(attr ...color.Attribute) func(a ...any) string {
		c := color.New(attr...)
		if colours {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c.SprintFunc()
	}
	return palette{
		in: paint(color.FgGreen), out: paint(color.FgRed), name: paint(color.Bold),
		bad: paint(color.FgRed, color.Bold), good: paint(color.FgGreen, color.Bold),
	}
}

// printText tells a person what one pass found and did.
func printText(w io.Writer, out syncer.Outcome, dryRun, colours bool) {
	c := newPalette(colours)
	for _, u := range out.Unserved {
		fmt.Fprintf(w, "%s: %s: %d stay all the same\n", c.bad("no healthy server"), c.name(u.Upstream), u.Servers)
	}
	if len(out.Gateways) > 0 {
		verb := "conf file"
		if dryRun {
			verb = "conf file, not written"
		}
		printChanges(w, c, verb, out.Written)
	}
	for _, g := range out.Gateways {
		switch {
		case g.Err != nil:
			fmt.Fprintf(w, "gateway %s: %s: %s\n", g.Name, c.bad("out of sync"), g.Err)
		case dryRun && !g.Changes.Empty():
			printChanges(w, c, "gateway "+g.Name+", not pushed", g.Changes)
		default:
			fmt.Fprintf(w, "gateway %s: %s (%s)\n", g.Name, c.good("in sync"), summary(g.Changes))
		}
	}
	for _, h := range out.Holds {
		fmt.Fprintf(w, "%s: %s\n", c.bad("held"), h.Reason)
		for _, s := range h.Removed {
			fmt.Fprintf(w, "  stays: %s %s\n", c.name(s.Upstream), s.Addr)
		}
		fmt.Fprintf(w, "  to let exactly this through: --sync-once --approve %s\n", h.ID)
	}
	for _, o := range out.Out {
		where := strconv.Quote(o.Service)
		if o.Addr != "" {
			where += " " + strconv.Quote(o.Addr)
		}
		reason := o.Reason
		if detail := o.Detail(); detail != "" {
			reason += "; " + detail
		}
		fmt.Fprintf(w, "left out: %s: %s\n", where, printable(reason))
	}
}

// printChanges prints the difference, a line for each line of nginx syntax.
func printChanges(w io.Writer, c palette, what string, ch upstream.Changes) {
	fmt.Fprintf(w, "%s: %s\n", what, summary(ch))
	block := func(mark, name string, in, gone []string) {
		fmt.Fprintf(w, "%s upstream %s\n", mark, c.name(name))
		for _, l := range gone {
			fmt.Fprintln(w, c.out("-     "+l))
		}
		for _, l := range in {
			fmt.Fprintln(w, c.in("+     "+l))
		}
	}
	for _, u := range ch.Added {
		block(c.in("+"), u.Name, lines(u), nil)
	}
	for _, u := range ch.Updated {
		in, gone := lineDiff(u)
		block(" ", u.New.Name, in, gone)
	}
	for _, u := range ch.Removed {
		block(c.out("-"), u.Name, nil, lines(u))
	}
}

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

// printable keeps what a registry wrote from moving the cursor or beginning a line. What is printable
// stays as it is, so that a text which is made so twice, by the daemon and by the command, looks the same.
func printable(s string) string {
	var out strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		switch one := s[:n]; {
		case strconv.IsPrint(r) && (r != utf8.RuneError || n > 1):
			out.WriteString(one)
		default:
			quoted := strconv.Quote(one)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return out.String()
}
