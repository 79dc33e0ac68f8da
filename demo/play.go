package demo

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// shop is a service with so many servers that the guard holds their removal.
const (
	shop      = "shop"
	shopSlots = 10
)

// playOn stays up for the user to try things, and prints changes, until the context ends.
func (s *stage) playOn(ctx context.Context) error {
	s.ask = s.asking(ctx)
	if err := s.invite(ctx); err != nil {
		return err
	}
	s.client.start(ctx, web, search)
	s.view.say("%s", s.view.bold("Ctrl-C ends it."))
	s.follow(ctx)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	s.view.hide()
	s.view.say("\nEnded: nothing is left behind.")
	return nil
}

// try is a command to copy, and what it does.
type try struct{ what, command string }

// list prints commands to try.
func (s *stage) list(title string, all ...try) {
	s.view.say("%s", s.view.bold(title))
	for _, t := range all {
		s.view.say("  %-12s  %s", t.what, s.view.accent(t.command))
	}
}

// asking returns a function that completes commands, with the controller's address if they would not find it without.
func (s *stage) asking(ctx context.Context) func(command string) string {
	where := ""
	if s.options.Plain == nil || !s.options.Plain(ctx, s.conf) {
		page, _, _ := strings.Cut(s.page, "/#token=")
		where = " --address " + strings.TrimSuffix(page, "/")
	}
	return func(command string) string { return os.Args[0] + " " + command + where }
}

// change returns a command that changes something, with the necessary token.
func (s *stage) change(command string) string {
	_, token, _ := strings.Cut(s.page, "/#token=")
	return "SWALLOWKEEPER_STATUS_TOKEN=" + token + " " + s.ask(command)
}

// follow prints changes of the conf file and holds.
func (s *stage) follow(ctx context.Context) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	last := s.status()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		now := s.status()
		if now.Generation.Number != last.Generation.Number {
			s.tellChanges(upstream.Diff(last.Generation.Set, now.Generation.Set))
		}
		switch {
		case len(now.Holds) > 0 && guard.Reasons(now.Holds) != guard.Reasons(last.Holds):
			s.line("%s %s.", s.view.warn("held:"), guard.Reasons(now.Holds))
			s.view.say("  %-12s  %s", "approve it", s.view.accent(s.change("approve "+now.Holds[0].ID)))
		case len(now.Holds) == 0 && len(last.Holds) > 0:
			s.line("The hold has ended.")
		}
		last = now
	}
}

func (s *stage) tellChanges(c upstream.Changes) {
	for _, u := range c.Added {
		s.line("%s is new: %s", s.view.bold(u.Name), addrs(u.Servers))
	}
	for _, u := range c.Updated {
		var parts []string
		if in := without(u.New.Servers, u.Old.Servers); len(in) > 0 {
			parts = append(parts, "in "+addrs(in))
		}
		if out := without(u.Old.Servers, u.New.Servers); len(out) > 0 {
			parts = append(parts, "out "+addrs(out))
		}
		if parts == nil {
			parts = []string{"its options changed"}
		}
		s.line("%s: %s", s.view.bold(u.New.Name), strings.Join(parts, ", "))
	}
	for _, u := range c.Removed {
		s.line("%s is gone", s.view.bold(u.Name))
	}
}

func addrs(list []upstream.Server) string {
	var text []string
	for _, srv := range list {
		text = append(text, srv.Addr.String())
	}
	return strings.Join(text, " ")
}

// without returns the servers whose addresses are not among the others.
func without(list, others []upstream.Server) []upstream.Server {
	has := map[netip.AddrPort]bool{}
	for _, o := range others {
		has[o.Addr] = true
	}
	var rest []upstream.Server
	for _, srv := range list {
		if !has[srv.Addr] {
			rest = append(rest, srv)
		}
	}
	return rest
}
