package consultestserver

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Stop ends Consul as an init system does and waits for it. Connections are refused from then on,
// until a restart. The server does not leave its cluster, and its state is kept.
func (s *Server) Stop() {
	s.t.Helper()
	if err := s.process.stop(stopLimit); err != nil {
		s.t.Errorf("stop Consul: %v", err)
	}
}

// Kill ends Consul with SIGKILL and waits for it. Its state is kept as far as it was written.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.process.kill(); err != nil {
		s.t.Errorf("kill Consul: %v", err)
	}
}

// Pause freezes Consul: connections are still accepted by the kernel, yet nothing answers.
func (s *Server) Pause() {
	s.t.Helper()
	if err := s.process.pause(); err != nil {
		s.t.Errorf("pause Consul: %v", err)
	}
}

// Resume lets a paused Consul go on.
func (s *Server) Resume() {
	s.t.Helper()
	if err := s.process.signal(syscall.SIGCONT); err != nil {
		s.t.Errorf("resume Consul: %v", err)
	}
}

// Restart stops Consul where it runs, starts it with its state and on its ports, and waits as Start
// does. It also ends what LoseLeader began.
//
// An agent remembers its services and their checks, but a TTL check only comes back with the state
// of its last update, and all other checks start critical.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	var err error
	if s.leaderless {
		err = s.standAlone()
	}
	if err == nil {
		err = s.run(s.leads)
	}
	if err != nil {
		s.t.Fatalf("restart Consul: %v", err)
	}
	s.leaderless = false
}

// RestartEmpty restarts Consul as Restart does, but without its state: an agent that lost its disk.
// Its answers are valid and empty, and its indexes start anew.
func (s *Server) RestartEmpty() {
	s.t.Helper()
	s.Stop()
	if err := os.RemoveAll(s.dataDir()); err != nil {
		s.t.Fatalf("remove Consul's state: %v", err)
	}
	s.leaderless = false
	if err := s.run(s.leads); err != nil {
		s.t.Fatalf("restart Consul empty: %v", err)
	}
}

// LoseLeader lets a second server join, which takes some seconds, and kills it: one of two is no
// majority, so Consul goes on without a leader. Stale reads answer from then on, all others fail
// after a while. Restart ends this; the second server stays behind in the catalog as a failed node.
func (s *Server) LoseLeader() {
	s.t.Helper()
	if s.leaderless {
		return
	}
	if err := s.loseLeader(); err != nil {
		s.t.Fatalf("lose Consul's leader: %v", err)
	}
	s.leaderless = true
}

func (s *Server) loseLeader() error {
	// With s's own extra configuration too: servers of one cluster share their datacenter.
	other := &Server{
		t: s.t, dir: filepath.Join(s.dir, "other"), binary: s.binary, nodeID: newUUID(), Token: s.Token,
		extra: s.extra, join: s,
	}
	// One folder per call: a member of an earlier call had another identity.
	if err := os.RemoveAll(other.dir); err != nil {
		return fmt.Errorf("remove an earlier second server: %w", err)
	}
	if err := os.MkdirAll(other.dir, 0o700); err != nil {
		return fmt.Errorf("make the second server's folder: %w", err)
	}
	s.t.Cleanup(func() {
		if err := other.process.kill(); err != nil {
			s.t.Errorf("end the second Consul: %v", err)
		}
	})
	if err := other.startOnFreePorts(settings{choosePorts: choosePorts}, s.hasVoters(2)); err != nil {
		return fmt.Errorf("start a second server: %w", err)
	}
	if err := other.process.kill(); err != nil {
		return err
	}
	return s.await(s.answersStaleOnly)
}
