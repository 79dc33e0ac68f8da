package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// A rack of servers that the visitor may take away at once: more than half of all, so that the guard
// holds it.
const (
	shop      = "shop"
	rack      = "rack-2"
	rackSlots = 10
)

// play stays up for the person to try things, and says what changes, until the context ends.
func (s *story) play(ctx context.Context) error {
	spare, err := s.services.start("hello", "hello-1")
	if err != nil {
		return err
	}
	for n := range rackSlots {
		i, err := s.services.start(shop, fmt.Sprintf("%s-%d", shop, n+1))
		if err != nil {
			return err
		}
		if err := s.services.place(ctx, i, rack); err != nil {
			return err
		}
		s.up[shop] = append(s.up[shop], i)
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.client.start(ctx, web, search)
	s.invite(ctx, spare)
	s.follow(ctx)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	s.view.hide()
	s.view.say("\nEnded: nothing is left behind.")
	return nil
}

// invite prints what to try, ready to be copied. An instance that registers without an
// address is at its node's, which is this machine's.
func (s *story) invite(ctx context.Context, spare *instance) {
	v := s.view
	registry := strings.TrimPrefix(s.registry.url, "http://")
	api, proxy := strings.TrimPrefix(s.gateway.API(), "http://"), strings.TrimPrefix(s.gateway.Proxy(), "http://")
	s.ask = s.asking(ctx)
	_, token, _ := strings.Cut(s.page, "/#token=")
	type try struct{ what, command string }
	list := func(title string, all ...try) {
		v.say("%s", v.bold(title))
		for _, t := range all {
			v.say("  %-12s  %s", t.what, v.accent(t.command))
		}
	}
	list("\nNow you. A small server waits at "+spare.addr+". In another terminal:",
		try{"register it", fmt.Sprintf(`curl -X PUT %s/v1/agent/service/register -d '{"Name":"hello","Port":%d}'`, registry, spare.port)},
		try{"see it", fmt.Sprintf("curl %s/detail", api)},
		try{"call it", fmt.Sprintf("curl -H 'Host: hello' %s", proxy)},
		try{"its health", fmt.Sprintf("curl '%s/v1/health/service/hello?pretty'", registry)},
		try{"deregister", fmt.Sprintf("curl -X PUT %s/v1/agent/service/deregister/hello", registry)},
		try{"rest " + s.up[web][0].name, fmt.Sprintf("curl -X PUT '%s/v1/agent/service/maintenance/%s?enable=true'", registry, s.up[web][0].name)},
		try{"nginx's file", "cat " + s.conf},
		try{"the verdict", s.ask("status")},
		try{"each server", s.ask("upstreams")},
		try{"freeze it", "SWALLOWKEEPER_STATUS_TOKEN=" + token + " " + s.ask("freeze hello")},
	)
	list(fmt.Sprintf("Cause a hold: %s, with the %d servers of %s, goes from the registry at one blow.", rack, rackSlots, shop),
		try{"lose a rack", fmt.Sprintf(`curl -X PUT %s/v1/catalog/deregister -d '{"Node":"%s"}'`, registry, rack)},
		try{"what is held", s.ask("status")},
		try{"approve it", "the command comes here, with the ID of the hold"},
	)
	v.say("%s", v.bold("Ctrl-C ends it."))
}

// asking makes commands for the controller. It is named where a plain command would not find it.
func (s *story) asking(ctx context.Context) func(command string) string {
	where := ""
	if s.plain == nil || !s.plain(ctx, s.conf) {
		page, _, _ := strings.Cut(s.page, "/#token=")
		where = " --address " + strings.TrimSuffix(page, "/")
	}
	return func(command string) string { return os.Args[0] + " " + command + where }
}

// follow says what changes in the conf file and what is held.
func (s *story) follow(ctx context.Context) {
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
			_, token, _ := strings.Cut(s.page, "/#token=")
			s.line("%s %s.", s.view.warn("held:"), guard.Reasons(now.Holds))
			s.view.say("  %-12s  %s", "approve it", s.view.accent("SWALLOWKEEPER_STATUS_TOKEN="+token+" "+s.ask("approve "+now.Holds[0].ID)))
		case len(now.Holds) == 0 && len(last.Holds) > 0:
			s.line("The hold has ended.")
		}
		last = now
	}
}

func (s *story) tellChanges(c upstream.Changes) {
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

// without is the servers whose address the others do not have.
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
