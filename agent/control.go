package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"swallowkeeper/internal/logs"
	"swallowkeeper/registry/register"
)

// Status is the state of an agent.
type Status struct {
	Node    string           `json:"node"`
	Since   time.Time        `json:"since"`
	Docker  Engine           `json:"docker"`
	Targets map[string]state `json:"targets"`
	Entries []register.Entry `json:"entries"`
}

// Engine is how well the engine can be read.
type Engine struct {
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Heard   time.Time `json:"heard,omitzero"`
}

// Well reports whether the engine can be read and everything is written.
func (s *Status) Well() bool {
	for _, t := range s.Targets {
		if t.Trouble != "" || t.Written.IsZero() {
			return false
		}
	}
	return s.Docker.Trouble == "" && !s.Docker.Heard.IsZero()
}

// status returns the current state.
func (a *Agent) status() Status {
	c := a.docker.Condition()
	s := Status{Node: a.cfg.Node, Since: a.began, Targets: map[string]state{}, Docker: Engine{Since: c.Since, Heard: c.Heard}}
	if c.Trouble != nil {
		s.Docker.Trouble = c.Trouble.Error()
	}
	s.Entries, _ = a.want()
	for _, w := range a.targets {
		w.mu.Lock()
		s.Targets[w.target.Name()] = w.state
		w.mu.Unlock()
	}
	return s
}

// control is the socket for status and stop.
type control struct {
	path   string
	lock   *os.File
	l      net.Listener
	server *http.Server
}

// listen opens the socket. Only one agent of a node can have it.
func (a *Agent) listen(ctx context.Context) (*control, error) {
	path := a.cfg.Socket
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w of node %s runs on this machine: it has %s", register.ErrTaken, a.cfg.Node, path)
	}
	_ = os.Remove(path) // left by a killed agent
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	handler := http.NewServeMux()
	handler.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a.status())
	})
	handler.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		s := a.status()
		s.metrics(w)
	})
	handler.HandleFunc("POST /stop", func(w http.ResponseWriter, q *http.Request) {
		drain, err := time.ParseDuration(q.FormValue("drain"))
		if err != nil || drain < 0 {
			http.Error(w, "drain is no time", http.StatusBadRequest)
			return
		}
		name, err := a.Stop(q.Context(), q.FormValue("container"), drain)
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		fmt.Fprint(w, name)
	})
	return &control{path: path, lock: lock, l: l, server: &http.Server{
		Handler: handler, ReadHeaderTimeout: callLimit, ErrorLog: logs.Standard(a.log, "the control socket"),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}}, nil
}

// serve answers requests until close.
func (c *control) serve() {
	_ = c.server.Serve(c.l)
}

func (c *control) close() {
	_ = c.server.Close()
	_ = c.l.Close()
	_ = os.Remove(c.path)
	c.lock.Close()
}

// metrics writes the state in Prometheus's format.
func (s *Status) metrics(w io.Writer) {
	number := map[bool]int{true: 1}
	fmt.Fprintf(w, "# HELP swallowkeeper_agent_docker_up Whether the engine can be read.\n# TYPE swallowkeeper_agent_docker_up gauge\nswallowkeeper_agent_docker_up %d\n",
		number[s.Docker.Trouble == "" && !s.Docker.Heard.IsZero()])
	fmt.Fprintf(w, "# HELP swallowkeeper_agent_target_up Whether everything is written.\n# TYPE swallowkeeper_agent_target_up gauge\n")
	for name, t := range s.Targets {
		fmt.Fprintf(w, "swallowkeeper_agent_target_up{target=%q} %d\n", name, number[t.Trouble == "" && !t.Written.IsZero()])
	}
	fmt.Fprintf(w, "# HELP swallowkeeper_agent_entries Instances that are registered.\n# TYPE swallowkeeper_agent_entries gauge\nswallowkeeper_agent_entries %d\n", len(s.Entries))
}

// errNoAgent means that nobody answers at the socket.
var errNoAgent = errors.New("no agent runs")

// ask sends a request to the agent at the socket.
func ask(ctx context.Context, socket, method, path string) ([]byte, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	q, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(q)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s: --node or --socket says where", errNoAgent, socket)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: permission denied: use the agent's own account or its group", socket)
	case err != nil:
		return nil, err
	}
	defer answer.Body.Close()
	const most = 32 << 20
	text, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(text)))
	}
	return text, err
}

// Ask returns the state of the agent at a socket.
func Ask(ctx context.Context, socket string) (s Status, err error) {
	text, err := ask(ctx, socket, http.MethodGet, "/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// Stop makes the agent at a socket stop a container, and returns the container's name.
func Stop(ctx context.Context, socket, container string, drain time.Duration) (string, error) {
	q := url.Values{"container": {container}, "drain": {drain.String()}}
	text, err := ask(ctx, socket, http.MethodPost, "/stop?"+q.Encode())
	return string(text), err
}
