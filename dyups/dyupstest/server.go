// Package dyupstest is a server that behaves as an nginx with the dyups module does:
// some workers, each with its own copy of the upstreams, a bounded queue between
// them, the REST interface, and a proxy that serves traffic by the copy of whichever
// worker has the connection. It is in one process and needs nothing installed, so
// that tests can break it in every way that the real one breaks, and the demo runs
// without an nginx.
//
// It balances by weighted round robin whatever method an upstream names, speaks HTTP
// only, runs no health checks of its own, and never asks DNS: an upstream that is
// unknown gets 502, where nginx would look the name up. As in Tengine, traffic finds an
// upstream by its exact name, while the interface does not regard case.
package dyupstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Options are the settings of a [Server]. The zero value is a server with nginx's own
// defaults on free loopback ports.
type Options struct {
	// APIAddr is where the interface listens: host:port, or unix:/path/of/socket.
	// Default: a free port of 127.0.0.1.
	APIAddr string
	// ProxyAddr is where the traffic is served, host:port. Default: a free port of 127.0.0.1.
	ProxyAddr string
	// Workers is worker_processes. Default: 4.
	Workers int
	// QueueBytes is dyups_shm_zone_size. Default: 2 MB.
	QueueBytes int
	// ReadMsgTimeout is dyups_read_msg_timeout. Default: 1 s.
	ReadMsgTimeout time.Duration
	// TryLock is dyups_trylock.
	TryLock bool
	// WorkerHeader adds X-Dyups-Worker with the pid to every answer of the interface.
	WorkerHeader bool
	// MaxConns says that /detail shows max_conns, as newer builds do.
	MaxConns bool
	// NoDetail is a build that has no /detail.
	NoDetail bool
	// ConfFile holds the upstreams that the start and each reload read. One that is not
	// there counts as empty.
	ConfFile string
	// Static are upstreams of nginx's own configuration that ConfFile could not hold.
	Static []Static
	// Variables lists the variables, with their dollar, that nginx's own configuration uses. A
	// body that names any other spoils the worker that answers.
	Variables []string
}

// Static is an upstream as /detail shows it: any name that nginx takes in quotes, and the lines of its
// servers behind the word. A host that is not resolved yet has no address.
type Static struct {
	Name    string
	Servers []string
}

// Server is the running thing. All methods may be called at any time, from anywhere.
type Server struct {
	options Options
	ctx     context.Context
	stop    context.CancelFunc
	api     net.Listener
	traffic net.Listener
	proxy   *http.Server
	running sync.WaitGroup
	holders sync.Map // which worker has a connection of the traffic

	mu      sync.Mutex
	workers []*worker
	queue   *queue
	loaded  []named // what the last load read
	lastPID int
	last    int // the worker that took the last connection
	trouble trouble
	calls   []Call
	posts   int
	deletes int
	gets    int
}

// Worker is one worker as [Server.Workers] shows it.
type Worker struct {
	PID int
	// Upstreams is its copy: options and servers as text, by name.
	Upstreams map[string]string
}

// New starts a server. Its addresses are known and taken when it returns.
func New(o Options) (*Server, error) {
	if o.APIAddr == "" {
		o.APIAddr = "127.0.0.1:0"
	}
	if o.ProxyAddr == "" {
		o.ProxyAddr = "127.0.0.1:0"
	}
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 2 << 20
	}
	if o.ReadMsgTimeout == 0 {
		o.ReadMsgTimeout = time.Second
	}
	s := &Server{options: o, lastPID: 100, trouble: newTrouble()}
	conf, err := readConf(o.ConfFile)
	if err != nil {
		return nil, err
	}
	if s.api, err = listen(o.APIAddr); err != nil {
		return nil, fmt.Errorf("listen for the dyups interface: %w", err)
	}
	if s.traffic, err = listen(o.ProxyAddr); err != nil {
		_ = s.api.Close()
		return nil, fmt.Errorf("listen for traffic: %w", err)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.mu.Lock()
	s.load(conf)
	s.mu.Unlock()
	s.proxy = s.newProxy()
	s.running.Go(s.acceptAPI)
	s.running.Go(func() { _ = s.proxy.Serve(s.traffic) })
	return s, nil
}

func listen(addr string) (net.Listener, error) {
	var lc net.ListenConfig
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return lc.Listen(context.Background(), "unix", path)
	}
	return lc.Listen(context.Background(), "tcp", addr)
}

// readConf reads the upstreams of a conf file.
func readConf(path string) ([]named, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		text, err = included(text)
	}
	if err != nil {
		return nil, fmt.Errorf("read upstreams: %w", err)
	}
	conf, err := parseFile(text)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return conf, nil
}

var includeLine = regexp.MustCompile(`(?m)^include (/[^\s;]+);$`)

// included puts the files that a conf file includes in the places of its include lines. As to nginx, one that is missing is
// an error.
func included(text []byte) ([]byte, error) {
	var failed error
	text = includeLine.ReplaceAllFunc(text, func(line []byte) []byte {
		part, err := os.ReadFile(string(includeLine.FindSubmatch(line)[1]))
		failed = errors.Join(failed, err)
		return part
	})
	return text, failed
}

// load starts all workers anew from a configuration. s.mu is held.
func (s *Server) load(conf []named) {
	s.loaded = conf
	s.queue = newQueue(s.options.QueueBytes, s.options.Workers)
	s.workers = make([]*worker, s.options.Workers)
	for i := range s.workers {
		s.spawn(i, false)
	}
}

// spawn starts one worker. s.mu is held.
func (s *Server) spawn(i int, respawned bool) {
	s.lastPID++
	w := newWorker(s, s.lastPID, s.queue, s.loaded)
	s.workers[i] = w
	s.running.Go(func() { w.run(respawned) })
}

// acceptAPI gives each connection to one worker for its life. As in nginx one worker
// tends to take several in a row.
func (s *Server) acceptAPI() {
	for {
		c, err := s.api.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			continue
		}
		w := s.choose(0.7)
		s.running.Go(func() { w.serveAPI(c) })
	}
}

// choose picks the worker of a new connection: with the given probability the one
// that took the last, else any.
func (s *Server) choose(same float64) *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rand.Float64() >= same {
		s.last = rand.IntN(len(s.workers))
	}
	return s.workers[s.last]
}

// API is the address of the interface: http://host:port, or unix:/path.
func (s *Server) API() string { return baseURL(s.api) }

// Proxy is the address of the traffic, http://host:port.
func (s *Server) Proxy() string { return baseURL(s.traffic) }

func baseURL(l net.Listener) string {
	if a := l.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return "http://" + l.Addr().String()
}

// Workers shows the workers in a fixed order: a crash leaves the others where they were.
func (s *Server) Workers() []Worker {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	list := make([]Worker, len(workers))
	for i, w := range workers {
		list[i] = Worker{PID: w.pid, Upstreams: w.show()}
	}
	return list
}

// Details is what each worker has, as /detail would show it. Unlike a call of the interface it makes no worker read the
// queue.
func (s *Server) Details() []string {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	list := make([]string, len(workers))
	for i, w := range workers {
		w.mu.Lock()
		list[i] = w.detail()
		w.mu.Unlock()
	}
	return list
}

// Copies is what each worker has of one upstream, as text; "" where it has none.
func (s *Server) Copies(name string) []string {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	list := make([]string, len(workers))
	for i, w := range workers {
		list[i] = w.showOne(name)
	}
	return list
}

// CrashWorker kills a worker as signal 9 does. The one in its place has the
// configuration of the last load, and sleeps before it serves.
func (s *Server) CrashWorker(i int) {
	s.mu.Lock()
	w := s.workers[i]
	s.mu.Unlock()
	s.replace(w)
}

// replace puts a new worker in the place of one that dies.
func (s *Server) replace(old *worker) {
	s.mu.Lock()
	for i, w := range s.workers {
		if w == old && s.ctx.Err() == nil {
			s.spawn(i, true)
		}
	}
	s.mu.Unlock()
	old.crash()
}

// Reload replaces all workers by new ones that have read the conf file. A file that
// cannot be read changes nothing.
func (s *Server) Reload() error {
	conf, err := readConf(s.options.ConfFile)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return errors.New("the server is closed")
	}
	old := s.workers
	s.load(conf)
	for _, w := range old {
		w.retire()
	}
	return nil
}

// StallWorker keeps a worker from reading the queue while on. It answers all the same.
func (s *Server) StallWorker(i int, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers[i].stalled.Store(on)
}

// LockQueue holds the queue as another call does that takes long, until release is
// called, which has to be before Close. Without trylock, calls that change something
// wait meanwhile, and their workers with them.
func (s *Server) LockQueue() (release func()) {
	s.mu.Lock()
	q := s.queue
	s.mu.Unlock()
	q.mu.Lock()
	return sync.OnceFunc(q.mu.Unlock)
}

// Close ends everything and waits for it.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	workers := s.workers
	s.mu.Unlock()
	_ = s.api.Close()
	_ = s.proxy.Close()
	for _, w := range workers {
		w.crash()
	}
	s.running.Wait()
}
