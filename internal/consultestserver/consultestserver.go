// Package consultestserver starts the real Consul for tests: one server on 127.0.0.1, with ports,
// configuration and state of its own, that ends with the test.
//
// A test can play outages on it: stop, kill, pause, restart with or without its state, lose the
// leader. It is one server that is its own agent; client agents may join it. Its methods report
// trouble through the test that started it, so they are for that test's own goroutine.
package consultestserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

const (
	// readyLimit is generous: test machines are busy.
	readyLimit = time.Minute
	stopLimit  = 15 * time.Second
	pollEvery  = 20 * time.Millisecond
	portTries  = 5
	logTail    = 32 << 10
)

// errPortTaken means that another program took a port between its choice and Consul's use of it.
var errPortTaken = errors.New("a chosen port is in use")

// Server is a running Consul. Its fields stay the same over restarts.
type Server struct {
	// Addr is the host and port of the HTTP API.
	Addr string
	// HTTPSAddr is the host and port of the HTTPS API, empty without WithTLS.
	HTTPSAddr string
	// CAFile names the PEM file that vouches for HTTPSAddr, empty without WithTLS.
	CAFile string
	// Token is the initial management token, empty without WithACL.
	Token string

	t          testing.TB
	binary     string
	dir        string
	nodeID     string
	extra      []string
	ports      ports
	process    *process
	join       *Server // whose cluster this one joins, nil for one of its own
	node       string  // a client agent's, "" where it is a server
	leaderless bool
}

// Start starts a Consul server and waits until it has a leader and answers consistent reads. It
// fails the test where that takes too long. Where there is no Consul binary it fails the test with
// what to do about it, or skips it under -short.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	binary := Binary(t)
	settings := settings{choosePorts: choosePorts}
	for _, opt := range opts {
		opt(&settings)
	}

	// The folder comes before the clean-up, so that it is removed after Consul has ended.
	dir := t.TempDir()
	s := &Server{t: t, binary: binary, dir: dir, nodeID: newUUID(), extra: settings.extra}
	t.Cleanup(s.close)
	if settings.acl {
		s.Token = newUUID()
	}
	if settings.tls {
		if err := s.writeCertificates(); err != nil {
			t.Fatal(err)
		}
	}

	if err := s.startOnFreePorts(settings, s.leads); err != nil {
		t.Fatal(err)
	}
	return s
}

// Client returns a client of the HTTP API that uses Token. Its idle connections are closed with t.
func (s *Server) Client(t testing.TB) *api.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{
		Address:    s.Addr,
		Scheme:     "http",
		Token:      s.Token,
		HttpClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatalf("make a Consul client: %v", err)
	}
	return client
}

// startOnFreePorts starts Consul, again where it lost a port to another program.
func (s *Server) startOnFreePorts(settings settings, ready func(context.Context) error) error {
	var err error
	for range portTries {
		if err = s.startOnNewPorts(settings, ready); !errors.Is(err, errPortTaken) {
			break
		}
	}
	return err
}

// startOnNewPorts starts Consul on ports that are free just now and without state.
func (s *Server) startOnNewPorts(settings settings, ready func(context.Context) error) error {
	var err error
	if s.ports, err = settings.choosePorts(); err != nil {
		return err
	}
	// A server remembers its address, so a try on other ports must not find an earlier try's state.
	if err := os.RemoveAll(s.dataDir()); err != nil {
		return fmt.Errorf("remove the state of an earlier try: %w", err)
	}
	s.Addr = loopback(s.ports.http)
	if settings.tls {
		s.HTTPSAddr = loopback(s.ports.https)
	}
	if err := s.writeConfig(); err != nil {
		return err
	}
	return s.run(ready)
}

// run starts the process and waits until ready returns nil.
func (s *Server) run(ready func(context.Context) error) error {
	before, err := s.logSize()
	if err != nil {
		return err
	}
	s.process, err = startProcess(s.t.Context(), s.logFile(), s.binary, "agent", "-config-dir", s.configDir())
	if err != nil {
		return err
	}
	err = s.await(ready)
	if err == nil {
		return nil
	}
	// One that half started is of no use to anybody.
	if killErr := s.process.kill(); killErr != nil {
		return errors.Join(err, killErr)
	}
	if s.portWasTaken(before) {
		return fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}

// await polls until ready returns nil, the process ends or the limit is reached.
func (s *Server) await(ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), readyLimit)
	defer cancel()
	// Whoever else may have the port could keep a question waiting.
	defer context.AfterFunc(s.process.ended, cancel)()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var lastly error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		// The question that the end cuts off says nothing: keep what the one before it said.
		if ctx.Err() == nil || lastly == nil {
			lastly = err
		}
		select {
		case <-ctx.Done():
			if s.process.ended.Err() != nil {
				return fmt.Errorf("consul ended at once (%s), its log is below", s.process.state())
			}
			return fmt.Errorf("consul was not ready within %s: %w", readyLimit, lastly)
		case <-ticker.C:
		}
	}
}

// portWasTaken tells whether the log says so, from the given offset on.
func (s *Server) portWasTaken(from int64) bool {
	text, err := os.ReadFile(s.logFile())
	return err == nil && int64(len(text)) >= from &&
		strings.Contains(string(text[from:]), "address already in use")
}

func (s *Server) logSize() (int64, error) {
	info, err := os.Stat(s.logFile())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the size of Consul's log: %w", err)
	}
	return info.Size(), nil
}

// close ends Consul at the end of the test and shows its log where the test failed.
func (s *Server) close() {
	if err := s.process.kill(); err != nil {
		s.t.Errorf("end Consul: %v", err)
	}
	if !s.t.Failed() {
		return
	}
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		s.t.Logf("no log of Consul: %v", err)
		return
	}
	s.t.Logf("the end of Consul's log:\n%s", text[max(0, len(text)-logTail):])
}

func (s *Server) dataDir() string   { return filepath.Join(s.dir, "data") }
func (s *Server) configDir() string { return filepath.Join(s.dir, "config") }
func (s *Server) logFile() string   { return filepath.Join(s.dir, "consul.log") }

// PID is Consul's process ID, for what the kernel tells of it.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }
