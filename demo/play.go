package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"swallowkeeper/upstream"
)

// play stays up for the person to try things, and says what changes, until the context ends.
func (s *story) play(ctx context.Context) error {
	spare, err := s.services.start("hello", "hello-1")
	if err != nil {
		return err
	}
	s.client.start(ctx, web, search)
	s.invite(spare)
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
func (s *story) invite(spare *instance) {
	v := s.view
	registry := strings.TrimPrefix(s.registry.url, "http://")
	api, proxy := strings.TrimPrefix(s.gateway.API(), "http://"), strings.TrimPrefix(s.gateway.Proxy(), "http://")
	page, token, _ := strings.Cut(s.page, "/#token=")
	ask := func(command string) string { return fmt.Sprintf("%s %s --address %s", os.Args[0], command, page) }
	v.say("\n%s", v.bold("Now you. A small server waits at "+spare.addr+". In another terminal:"))
	for _, try := range []struct{ what, command string }{
		{"register it", fmt.Sprintf(`curl -X PUT %s/v1/agent/service/register -d '{"Name":"hello","Port":%d}'`, registry, spare.port)},
		{"see it", fmt.Sprintf("curl %s/detail", api)},
		{"call it", fmt.Sprintf("curl -H 'Host: hello' %s", proxy)},
		{"its health", fmt.Sprintf("curl '%s/v1/health/service/hello?pretty'", registry)},
		{"deregister", fmt.Sprintf("curl -X PUT %s/v1/agent/service/deregister/hello", registry)},
		{"rest " + s.up[web][0].name, fmt.Sprintf("curl -X PUT '%s/v1/agent/service/maintenance/%s?enable=true'", registry, s.up[web][0].name)},
		{"nginx's file", "cat " + s.conf},
		{"the verdict", ask("status")},
		{"freeze it", "SWALLOWKEEPER_STATUS_TOKEN=" + token + " " + ask("freeze hello")},
	} {
		v.say("  %-12s  %s", try.what, v.accent(try.command))
	}
	v.say("%s", v.bold("Ctrl-C ends it."))
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
		case now.Hold != nil && (last.Hold == nil || now.Hold.ID != last.Hold.ID):
			s.line("%s %s.", s.view.warn("held:"), now.Hold.Reason)
		case now.Hold == nil && last.Hold != nil:
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
