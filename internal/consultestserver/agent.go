package consultestserver

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/hashicorp/consul/api"
)

// Agent starts a client agent of this server's cluster, as it runs on each node, and waits until it is in the
// catalog. What is registered with it comes back by its anti-entropy when the server lost its state.
func (s *Server) Agent(t testing.TB, node string) *Server {
	t.Helper()
	a := &Server{
		t: t, dir: filepath.Join(t.TempDir(), node), binary: s.binary, nodeID: newUUID(), Token: s.Token, extra: s.extra,
		join: s, node: node,
	}
	t.Cleanup(a.close)
	if err := a.startOnFreePorts(settings{choosePorts: choosePorts}, a.leads); err != nil {
		t.Fatal(err)
	}
	return a
}

// AwaitServerLost waits until an agent has noticed that its server is gone. Until then it takes one that is
// back soon for the same, and tells it nothing.
func (s *Server) AwaitServerLost() {
	s.t.Helper()
	client := s.Client(s.t)
	const failed = 4 // serf's word for a member that does not answer
	err := s.await(func(ctx context.Context) error {
		members, err := client.Agent().MembersOpts(api.MembersOpts{})
		if err != nil {
			return fmt.Errorf("ask for the members: %w", err)
		}
		for _, m := range members {
			if m.Name == serverNode && m.Status != failed {
				return fmt.Errorf("%s has status %d", m.Name, m.Status)
			}
		}
		return ctx.Err()
	})
	if err != nil {
		s.t.Fatalf("wait for the server's end: %v", err)
	}
}

// Rejoin has an agent join its server again, which may have forgotten it.
func (s *Server) Rejoin() {
	s.t.Helper()
	client := s.Client(s.t)
	if err := client.Agent().Join(loopback(s.join.ports.serf), false); err != nil {
		s.t.Fatalf("join the server: %v", err)
	}
}
