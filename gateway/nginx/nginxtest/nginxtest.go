// Package nginxtest is an in-process double of nginx for tests: a master, its workers, and the process table that shows
// them. It reads real files as strictly as nginx, and replaces its workers as nginx does: new ones start at once, and
// old ones accept connections for another 100 ms, then leave when their last request ends. A worker has what the master
// had loaded when the worker started.
//
// A worker serves traffic by its configuration, as far as the files of a gateway go.
//
// It can simulate trouble: a master that ignores signals, workers that are stopped or killed, a restart.
package nginxtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/balancer"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/upstream"
)

// overlap is how long nginx lets old workers take connections after the new ones have started.
const overlap = 100 * time.Millisecond

// Server is one nginx. It is the machine that it runs on, too.
type Server struct {
	conf  string // its nginx.conf
	proc  string // the table of processes
	count int
	http  *http.Server
	at    net.Listener
	over  chan error // when it serves no more

	takers sync.Map // which worker has a connection

	mu      sync.Mutex
	change  chan struct{}        // closed when something about the workers has changed
	idle    map[net.Conn]*worker // the connections between two requests
	loaded  *conf
	master  int
	nextPID int
	workers []*worker
	turn    int
	deaf    bool // HUPs lead to nothing
	reloads int
	ended   bool
}

type worker struct {
	pid                    int
	conf                   *conf
	leaving, stopped, dead bool
	requests               int // under way

	mu    sync.Mutex
	peers map[string]*balancer.Balancer
}

// Options of an nginx.
type Options struct {
	Conf    string // the nginx.conf that it reads; where it says to listen does not count
	Table   string // an empty folder for the table of processes and the pid file
	Workers int
	Addr    string // where it listens; "" is any free port of loopback
}

// Start starts one.
func Start(o Options) (*Server, error) {
	at, err := new(net.ListenConfig).Listen(context.Background(), "tcp", cmp.Or(o.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	s := &Server{
		conf: o.Conf, proc: o.Table, count: o.Workers, at: at, nextPID: 40_000, change: make(chan struct{}), over: make(chan error, 1),
		idle: map[net.Conn]*worker{},
	}
	type key struct{}
	s.http = &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: logs.Nowhere(),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			by := s.accept()
			s.takers.Store(c, by)
			return context.WithValue(ctx, key{}, by)
		},
		ConnState: s.connState,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			by, _ := r.Context().Value(key{}).(*worker)
			s.serve(by, w, r)
		}),
	}
	if err := s.boot(); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	go func() { s.over <- s.http.Serve(at) }()
	return s, nil
}

// Close ends it. From then on it touches no file.
func (s *Server) Close() {
	s.mu.Lock()
	s.ended = true
	s.changed()
	workers := slices.Clone(s.workers)
	s.mu.Unlock()
	_ = s.http.Close()
	<-s.over //nolint:errcheck // it was closed
	for _, w := range workers {
		w.end()
	}
}

// boot starts a master and its workers. The caller has the lock, or nobody else knows the server yet.
func (s *Server) boot() error {
	loaded, err := load(s.conf)
	if err != nil {
		return err
	}
	s.loaded = loaded
	s.master = s.fork("nginx: master process nginx -c "+s.conf, 1)
	s.spawn(s.count)
	if err := os.WriteFile(s.PIDFile(), fmt.Appendf(nil, "%d\n", s.master), 0o600); err != nil {
		return err
	}
	s.changed()
	return nil
}

// Addr is where it serves.
func (s *Server) Addr() string { return s.at.Addr().String() }

// PIDFile has its master's process ID.
func (s *Server) PIDFile() string { return filepath.Join(s.proc, "nginx.pid") }

// Reloads is how often it has loaded its configuration anew.
func (s *Server) Reloads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reloads
}

// fork adds a process to the table.
func (s *Server) fork(title string, parent int) int {
	s.nextPID++
	pid := s.nextPID
	dir := filepath.Join(s.proc, strconv.Itoa(pid))
	_ = os.Mkdir(dir, 0o700)
	_ = os.WriteFile(filepath.Join(dir, "comm"), []byte("nginx\n"), 0o600)
	_ = os.WriteFile(filepath.Join(dir, "status"), fmt.Appendf(nil, "Name:\tnginx\nPPid:\t%d\nNSpid:\t%d\nUid:\t0\t0\t0\t0\n", parent, pid), 0o600)
	s.show(pid, parent, title, "S")
	return pid
}

func (s *Server) show(pid, parent int, title, state string) {
	dir := filepath.Join(s.proc, strconv.Itoa(pid))
	replace(filepath.Join(dir, "stat"), fmt.Appendf(nil, "%d (nginx) %s %d 1 1 0", pid, state, parent))
	replace(filepath.Join(dir, "cmdline"), append([]byte(title), 0, 0, 0))
}

// replace writes a file of which nobody reads a half.
func replace(name string, text []byte) {
	if err := os.WriteFile(name+"~", text, 0o600); err == nil {
		_ = os.Rename(name+"~", name)
	}
}

func (s *Server) spawn(n int) {
	for range n {
		s.workers = append(s.workers, &worker{
			pid: s.fork("nginx: worker process", s.master), conf: s.loaded, peers: map[string]*balancer.Balancer{},
		})
	}
}

// changed wakes those who wait for a worker.
func (s *Server) changed() {
	defer func() {
		close(s.change)
		s.change = make(chan struct{})
	}()
	if s.ended {
		return // its table is being removed
	}
	for _, w := range s.workers {
		title, state := "nginx: worker process", "S"
		if w.leaving {
			title += " is shutting down"
		}
		if w.stopped {
			state = "T"
		}
		s.show(w.pid, s.master, title, state)
	}
}

// accept is the worker that takes a connection. Where none can, it waits for one.
func (s *Server) accept() *worker {
	for {
		s.mu.Lock()
		var can []*worker
		for _, w := range s.workers {
			if !w.leaving && !w.stopped {
				can = append(can, w)
			}
		}
		if len(can) > 0 {
			s.turn++
			w := can[s.turn%len(can)]
			s.mu.Unlock()
			return w
		}
		change, ended := s.change, s.ended
		s.mu.Unlock()
		if ended {
			return nil
		}
		<-change
	}
}

// connState keeps which connections are idle: one of a worker that leaves ends.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	by, _ := s.takers.Load(c)
	w, is := by.(*worker)
	if !is {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.idle, c)
	switch state {
	case http.StateIdle:
		s.idle[c] = w
		if w.leaving {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.takers.Delete(c)
	default:
	}
}

func (s *Server) serve(by *worker, w http.ResponseWriter, r *http.Request) {
	for by != nil {
		s.mu.Lock()
		stopped, dead, leaving, change := by.stopped, by.dead, by.leaving, s.change
		if !dead && !stopped {
			by.requests++
		}
		s.mu.Unlock()
		if dead {
			break
		}
		if !stopped {
			defer s.edit(by.pid, func(w *worker) { w.requests-- })
			if leaving {
				w.Header().Set("Connection", "close")
			}
			by.carry(w, r)
			return
		}
		select {
		case <-change:
		case <-r.Context().Done():
			return
		}
	}
	panic(http.ErrAbortHandler) // the process is gone, and so is its connection
}

// Reload is a HUP.
func (s *Server) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf {
		return
	}
	loaded, err := load(s.conf)
	if err != nil {
		return // only its error log says so
	}
	s.loaded = loaded
	s.reloads++
	old := slices.Clone(s.workers)
	s.spawn(s.count)
	s.changed()
	time.AfterFunc(overlap, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range old {
			w.leaving = w.leaving || !w.stopped // a stopped one does not hear it
		}
		for c, w := range s.idle {
			if w.leaving {
				_ = c.Close()
			}
		}
		s.reap()
	})
}

// reap ends the workers that leave and have no request any more.
func (s *Server) reap() {
	s.workers = slices.DeleteFunc(s.workers, func(w *worker) bool {
		if w.leaving && w.requests == 0 {
			s.remove(w)
			return true
		}
		return false
	})
	s.changed()
}

func (s *Server) remove(w *worker) {
	w.end()
	_ = os.RemoveAll(filepath.Join(s.proc, strconv.Itoa(w.pid)))
}

// Worker is what one of its workers has.
type Worker struct {
	PID     int
	Set     upstream.Set
	Leaving bool
}

// Workers are all of them in order of their IDs.
func (s *Server) Workers() []Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Worker, len(s.workers))
	for i, w := range s.workers {
		all[i] = Worker{PID: w.pid, Set: w.conf.set, Leaving: w.leaving}
	}
	slices.SortFunc(all, func(a, b Worker) int { return a.PID - b.PID })
	return all
}

// edit changes a worker, if it is there.
func (s *Server) edit(pid int, f func(*worker)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.workers, func(w *worker) bool { return w.pid == pid }); i >= 0 {
		f(s.workers[i])
	}
	s.reap()
}

// Kill ends a worker; the master starts another, which has what the master had loaded last.
func (s *Server) Kill(pid int) {
	s.edit(pid, func(w *worker) {
		w.dead = true
		s.remove(w)
		s.workers = slices.DeleteFunc(s.workers, func(o *worker) bool { return o == w })
		s.spawn(1)
	})
}

// Stop stops a worker until it is released.
func (s *Server) Stop(pid int) (release func()) {
	s.edit(pid, func(w *worker) { w.stopped = true })
	return func() { s.edit(pid, func(w *worker) { w.stopped = false }) }
}

// Occupy gives a worker a request that goes on until it is released.
func (s *Server) Occupy(pid int) (release func()) {
	s.edit(pid, func(w *worker) { w.requests++ })
	return func() { s.edit(pid, func(w *worker) { w.requests-- }) }
}

// Deafen has it ignore signals, or hear them again.
func (s *Server) Deafen(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// Restart ends it and starts it anew, with another master. It fails where nginx would not start.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.dead = true
		s.remove(w)
	}
	s.workers = nil
	_ = os.RemoveAll(filepath.Join(s.proc, strconv.Itoa(s.master)))
	return s.boot()
}

// Stranger puts a process of another program into the table and returns its ID.
func (s *Server) Stranger(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	pid := s.fork(name, 1)
	_ = os.WriteFile(filepath.Join(s.proc, strconv.Itoa(pid), "comm"), []byte(name+"\n"), 0o600)
	return pid
}

// Run is nginx -t and nginx -s reload.
func (s *Server) Run(ctx context.Context, argv []string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := load(s.conf); err != nil {
		return fmt.Appendf(nil, "%s\nnginx: configuration file %s test failed\n", err, s.conf), errors.New("exit status 1")
	}
	if slices.Contains(argv, "reload") {
		s.Reload()
	}
	return nil, nil
}

// Find is a process of the table.
func (s *Server) Find(pid int) (nginx.Process, error) { return process{s, pid}, nil }

// Processes is the table.
func (s *Server) Processes() nginxproc.Table { return nginxproc.Table{Root: s.proc} }

type process struct {
	s   *Server
	pid int
}

func (p process) Signal(sig os.Signal) error {
	p.s.mu.Lock()
	master := p.s.master
	p.s.mu.Unlock()
	if p.pid != master || sig != syscall.SIGHUP {
		return fmt.Errorf("process %d got signal %v", p.pid, sig)
	}
	p.s.Reload()
	return nil
}

func (process) Release() error { return nil }
