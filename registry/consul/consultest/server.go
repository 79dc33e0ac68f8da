// Package consultest is an in-process double of Consul: the part of its HTTP API that people use by hand and that
// swallowkeeper reads. It has agent registration with TTL, HTTP and TCP checks, the catalog, health, and blocking queries.
// The demo embeds it, and unit tests use it; a conformance suite holds it and a real Consul to the same behaviour.
//
// Its limits: one datacenter, one member, no persistence, no ACL rules, no Connect, no gzip. The only filter expression is a
// comparison of a check's status or of a service's ID. It refuses whatever it does not support. It never leaves the machine:
// checks connect to loopback addresses only. It can also be told to fail as Consul fails: see the methods of Server that
// take on or off.
//
// One behaviour of Consul surprises many: an agent answers the blocking form of /v1/health/service/NAME, and the cached one,
// from its own stream of events, with X-Consul-Query-Backend: streaming and always X-Consul-KnownLeader: false, healthy or
// not. That header means something only with X-Consul-Query-Backend: blocking-query.
package consultest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Options are what a caller may set for a Server; the zero value is an agent as Consul's defaults make it.
type Options struct {
	// Datacenter is the one datacenter there is ("dc1").
	Datacenter string
	// NodeName names the agent's own node ("dev").
	NodeName string
	// NodeAddress is the address of the agent's own node ("127.0.0.1").
	NodeAddress string
	// MaxConns is how many connections one client may hold on a Listener (200, as Consul has it). The agent
	// tells it as DebugConfig.HTTPMaxConnsPerClient. Below zero there is no limit.
	MaxConns int
	// MinCheckInterval is the shortest time between two probes of a check (1 s).
	MinCheckInterval time.Duration
	// MinDeregisterAfter is the least DeregisterCriticalServiceAfter (1 min).
	MinDeregisterAfter time.Duration
	// ReapInterval is how often services that have been critical for too long are looked for (30 s).
	ReapInterval time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.Datacenter, "dc1")
	setDefault(&o.NodeName, "dev")
	setDefault(&o.NodeAddress, "127.0.0.1")
	setDefault(&o.MaxConns, 200)
	setDefault(&o.MinCheckInterval, time.Second)
	setDefault(&o.MinDeregisterAfter, time.Minute)
	setDefault(&o.ReapInterval, 30*time.Second)
	return o
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Server is the registry. It is an http.Handler that the caller serves; one mutex guards all of its state.
type Server struct {
	opts   Options
	mux    *http.ServeMux
	ctx    context.Context // ends the checks and the reaper
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	st       *store
	runners  map[string]*runner // running checks of the agent, by check ID
	faults   faults
	requests map[string]int
	waiting  int
	closed   bool
}

// New starts a registry that knows of nothing but itself: its node and, as in Consul, the service "consul".
// Close it, before the HTTP server in front of it is closed.
func New(opts Options) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		opts:     opts.withDefaults(),
		mux:      http.NewServeMux(),
		ctx:      ctx,
		cancel:   cancel,
		st:       newStore(),
		runners:  make(map[string]*runner),
		requests: make(map[string]int),
	}
	s.registerSelf()
	s.mux.HandleFunc("/", s.index)
	for _, e := range endpoints() {
		s.mux.HandleFunc(e.pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, e) })
	}
	s.wg.Go(s.reap)
	return s
}

// Close ends all checks and blocked requests, whose connections are cut, and waits for the checks to be over.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

// Requests tells how many requests each endpoint has had, by the endpoint's path: "/v1/catalog/services", or
// "/v1/health/service/" with its final slash where a name follows. A request counts when it arrives.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.requests)
}

// Waiting tells how many blocking queries wait for a change at this moment.
func (s *Server) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// endpoint is one path of the API. A path that ends in a slash is followed by a name or ID.
type endpoint struct {
	pattern string
	method  string
	handle  func(*Server, http.ResponseWriter, *http.Request) (any, error)
}

func endpoints() []endpoint {
	get, put := http.MethodGet, http.MethodPut
	return []endpoint{
		{"/v1/agent/self", get, (*Server).agentSelf},
		{"/v1/agent/services", get, (*Server).agentServices},
		{"/v1/agent/checks", get, (*Server).agentChecks},
		{"/v1/agent/service/register", put, (*Server).agentRegister},
		{"/v1/agent/service/deregister/", put, (*Server).agentDeregister},
		{"/v1/agent/service/maintenance/", put, (*Server).agentMaintenance},
		{"/v1/agent/check/pass/", put, (*Server).agentCheckPass},
		{"/v1/agent/check/warn/", put, (*Server).agentCheckWarn},
		{"/v1/agent/check/fail/", put, (*Server).agentCheckFail},
		{"/v1/agent/check/update/", put, (*Server).agentCheckUpdate},
		{"/v1/catalog/register", put, (*Server).catalogRegister},
		{"/v1/catalog/deregister", put, (*Server).catalogDeregister},
		{"/v1/catalog/datacenters", get, (*Server).catalogDatacenters},
		{"/v1/catalog/nodes", get, (*Server).catalogNodes},
		{"/v1/catalog/services", get, (*Server).catalogServices},
		{"/v1/catalog/service/", get, (*Server).catalogService},
		{"/v1/catalog/node-services/", get, (*Server).catalogNodeServices},
		{"/v1/health/node/", get, (*Server).healthNode},
		{"/v1/health/checks/", get, (*Server).healthChecks},
		{"/v1/health/state/", get, (*Server).healthState},
		{"/v1/health/service/", get, (*Server).healthService},
		{"/v1/acl/token/self", get, (*Server).aclTokenSelf},
		{"/v1/status/leader", get, (*Server).statusLeader},
		{"/v1/status/peers", get, (*Server).statusPeers},
	}
}

// httpError is an error with the status that Consul gives it; any other error is a 500.
type httpError struct {
	status int
	text   string
}

func (e httpError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// serverError is for what Consul's servers refuse: however wrong the client is, that is a 500.
func serverError(format string, args ...any) error {
	return httpError{http.StatusInternalServerError, fmt.Sprintf(format, args...)}
}

func noLeader() error { return serverError("No cluster leader") }

const plainText = "text/plain; charset=utf-8"

// ServeHTTP answers one request of the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.isClosed() {
		panic(http.ErrAbortHandler)
	}
	// As Consul does: a path with something unprintable is refused before anybody looks at it.
	if strings.ContainsFunc(r.URL.Path, func(c rune) bool { return !unicode.IsPrint(c) }) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", plainText)
	switch {
	case r.URL.Path == "/":
		fmt.Fprintln(w, "swallowkeeper's dev registry, which speaks a part of Consul's HTTP API: see /v1/catalog/services")
	case strings.Contains(r.URL.Path, "/v1/"):
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "Invalid URL path: not a recognized HTTP API endpoint")
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'")
	}
}

// serve is what all endpoints have in common: counting, faults, methods, and how a value or an error is written.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, e endpoint) {
	s.count(e.pattern)
	s.hang(r.Context())
	if s.answerFault(w, r, e) {
		return
	}
	w.Header().Set("X-Consul-Default-ACL-Policy", s.aclPolicy())
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", "OPTIONS,"+e.method)
		return
	}
	if r.Method != e.method {
		w.Header().Set("Allow", "OPTIONS,"+e.method)
		writeError(w, httpError{http.StatusMethodNotAllowed, fmt.Sprintf("method %s not allowed", r.Method)})
		return
	}
	if err := refuseEnterprise(r); err != nil {
		writeError(w, err)
		return
	}
	v, err := e.handle(s, w, r)
	s.hang(r.Context()) // a query that waited when the agent began to hang is not answered either
	switch {
	case err != nil:
		writeError(w, err)
	case v != nil:
		writeJSON(w, r, v)
	}
}

func (s *Server) count(pattern string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[pattern]++
}

// refuseEnterprise refuses namespaces and partitions in the words of Consul's community edition.
func refuseEnterprise(r *http.Request) error {
	q := r.URL.Query()
	for _, e := range []struct{ param, header, what string }{
		{"ns", "X-Consul-Namespace", "Namespaces"},
		{"partition", "X-Consul-Partition", "Partitions"},
	} {
		if r.Header.Get(e.header) != "" {
			return badRequest("Invalid header: %q - %s are a Consul Enterprise feature", e.header, e.what)
		}
		if q.Get(e.param) != "" {
			return badRequest("Invalid query parameter: %q - %s are a Consul Enterprise feature", e.param, e.what)
		}
	}
	return nil
}

// refuseParams refuses what Consul would heed and this registry cannot, rather than give an answer that the
// client would take for a filtered one.
func refuseParams(q url.Values, names ...string) error {
	for _, name := range names {
		if q.Get(name) != "" {
			return badRequest("%s is not supported by the dev registry", name)
		}
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var he httpError
	if errors.As(err, &he) {
		status = he.status
	}
	w.Header().Set("Content-Type", plainText)
	w.WriteHeader(status)
	fmt.Fprint(w, err.Error())
}

func writeJSON(w http.ResponseWriter, r *http.Request, v any) {
	var body []byte
	var err error
	if _, pretty := r.URL.Query()["pretty"]; pretty {
		body, err = json.MarshalIndent(v, "", "    ")
		body = append(body, '\n')
	} else {
		body, err = json.Marshal(v)
	}
	if err != nil {
		writeError(w, fmt.Errorf("encode answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // a client that went away is no concern of ours
}

// token returns the ACL token that a request carries, wherever it carries it.
func token(r *http.Request) string {
	if t := r.URL.Query().Get("token"); t != "" {
		return t
	}
	if t := r.Header.Get("X-Consul-Token"); t != "" {
		return t
	}
	if scheme, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(t)
	}
	return ""
}
