package consultest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

const (
	// maxOutput is how much of a check's output is kept.
	maxOutput = 4 * 1024
	// probeTimeout is for checks that set none.
	probeTimeout = 10 * time.Second
)

// checkType is a check in a service's registration. All of Consul's keys are known, so that those for checks
// which this registry does not run are refused by name rather than as unknown.
type checkType struct {
	CheckID                             string
	Name                                string
	Status                              string
	Notes                               string
	ScriptArgs                          []string
	HTTP                                string
	H2PING                              string
	H2PingUseTLS                        bool
	Header                              map[string][]string
	Method                              string
	Body                                string
	DisableRedirects                    bool
	TCP                                 string
	TCPUseTLS                           bool
	UDP                                 string
	Interval                            duration
	AliasNode                           string
	AliasService                        string
	DockerContainerID                   string
	Shell                               string
	GRPC                                string
	GRPCUseTLS                          bool
	OSService                           string
	TLSServerName                       string
	TLSSkipVerify                       bool
	Timeout                             duration
	TTL                                 duration
	SuccessBeforePassing                int
	FailuresBeforeWarning               int
	FailuresBeforeCritical              int
	ProxyHTTP                           string
	ProxyGRPC                           string
	DeregisterCriticalServiceAfter      duration
	OutputMaxSize                       int
	ServiceID                           string   // taken and ignored, as by Consul
	ServiceIDSnake                      string   `json:"service_id"`
	Args                                []string `json:"args"`
	ScriptArgsSnake                     []string `json:"script_args"`
	DeregisterCriticalServiceAfterSnake duration `json:"deregister_critical_service_after"`
	DockerContainerIDSnake              string   `json:"docker_container_id"`
	TLSServerNameSnake                  string   `json:"tls_server_name"`
	TLSSkipVerifySnake                  bool     `json:"tls_skip_verify"`
	TCPUseTLSSnake                      bool     `json:"tcp_use_tls"`
	GRPCUseTLSSnake                     bool     `json:"grpc_use_tls"`
	H2PingUseTLSSnake                   bool     `json:"h2ping_use_tls"`
}

// empty is a check without a single key, which counts as none.
func (c *checkType) empty() bool { return reflect.DeepEqual(*c, checkType{}) }

func (c *checkType) validate() error {
	if len(c.ScriptArgs)+len(c.Args)+len(c.ScriptArgsSnake) > 0 {
		return serverError("Scripts are disabled on this agent from remote calls; " +
			"to enable, configure 'enable_script_checks' to true")
	}
	for _, other := range []struct{ name, value string }{
		{"UDP", c.UDP},
		{"GRPC", c.GRPC},
		{"H2PING", c.H2PING},
		{"OSService", c.OSService},
		{"AliasNode", c.AliasNode},
		{"AliasService", c.AliasService},
		{"DockerContainerID", c.DockerContainerID + c.DockerContainerIDSnake},
	} {
		if other.value != "" {
			return badRequest("Invalid check: %s is not supported by the dev registry", other.name)
		}
	}
	probed := c.HTTP != "" || c.TCP != ""
	switch {
	case c.Interval > 0 && c.TTL > 0:
		return badRequest("Invalid check: Interval and TTL cannot both be specified")
	case probed && c.Interval <= 0:
		return badRequest("Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks")
	case !probed && c.TTL <= 0:
		return badRequest("Invalid check: TTL must be > 0 for TTL checks")
	case c.OutputMaxSize < 0:
		return badRequest("Invalid check: MaxOutputMaxSize must be positive")
	case c.FailuresBeforeWarning > c.FailuresBeforeCritical:
		return badRequest("Invalid check: " +
			"FailuresBeforeWarning can't be higher than FailuresBeforeCritical")
	case !slices.Contains([]string{"", "passing", "warning", "critical"}, c.Status):
		return badRequest("Status for checks must 'passing', 'warning', 'critical'")
	}
	return nil
}

func (c *checkType) kind() string {
	switch {
	case c.HTTP != "":
		return "http"
	case c.TTL > 0:
		return "ttl"
	}
	return "tcp"
}

// id is the check's own ID, or the one that Consul makes of the service's: numbered when there are several.
func (c *checkType) id(service string, k, of int) string {
	switch {
	case c.CheckID != "":
		return c.CheckID
	case of > 1:
		return fmt.Sprintf("service:%s:%d", service, k+1)
	}
	return "service:" + service
}

func (c *checkType) record(id, service string) wireCheck {
	rec := wireCheck{
		CheckID: id, Name: c.Name, Status: c.Status, Notes: c.Notes, Type: c.kind(),
		Interval: c.Interval.text(), Timeout: c.Timeout.text(),
	}
	if rec.Name == "" {
		rec.Name = fmt.Sprintf("Service '%s' check", service)
	}
	return rec
}

// runner is a check of the agent that runs: a timer for a TTL, else a probe at every interval. Its fields are
// guarded by the server's mutex.
type runner struct {
	def           *checkType
	cancel        context.CancelFunc
	deadline      time.Time // of a TTL
	lastOutput    string
	successes     int
	failures      int
	criticalSince time.Time
}

// startCheck runs a check, in place of the one of that ID that runs already.
func (s *Server) startCheck(id string, c *checkType) {
	run := &runner{def: c, successes: c.SuccessBeforePassing, failures: c.FailuresBeforeCritical}
	if old := s.runners[id]; old != nil {
		old.cancel()
		run.criticalSince, run.lastOutput = old.criticalSince, old.lastOutput
	}
	ctx, cancel := context.WithCancel(s.ctx)
	run.cancel = cancel
	s.runners[id] = run
	if c.TTL > 0 {
		run.deadline = time.Now().Add(time.Duration(c.TTL))
		s.wg.Go(func() { s.runTTL(ctx, id, run) })
		return
	}
	s.wg.Go(func() { s.runProbe(ctx, id, run) })
}

// stopCheck ends a check without waiting for it: what it still reports is ignored.
func (s *Server) stopCheck(id string) {
	if run := s.runners[id]; run != nil {
		run.cancel()
		delete(s.runners, id)
	}
}

// stopChecks ends the checks of an instance, if they are the agent's to run.
func (s *Server) stopChecks(i *instance) {
	if !i.local {
		return
	}
	for id := range i.checks {
		s.stopCheck(id)
	}
}

// runTTL makes the check critical when nobody has reported in time.
func (s *Server) runTTL(ctx context.Context, id string, run *runner) {
	ttl := time.Duration(run.def.TTL)
	timer := time.NewTimer(ttl)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(s.expire(id, run, ttl))
		}
	}
}

// expire returns when to look again: at the deadline if it was moved meanwhile.
func (s *Server) expire(id string, run *runner, ttl time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if left := time.Until(run.deadline); left > 0 {
		return left
	}
	if s.runners[id] == run {
		output := "TTL expired"
		if run.lastOutput != "" {
			output += " (last output before timeout follows): " + run.lastOutput
		}
		s.setStatus(id, "critical", output)
	}
	return ttl
}

// runProbe probes at once and then at every interval. (Consul puts the first probe off by up to an interval, at
// random, to spread the load of many.)
func (s *Server) runProbe(ctx context.Context, id string, run *runner) {
	ticker := time.NewTicker(max(time.Duration(run.def.Interval), s.opts.MinCheckInterval))
	defer ticker.Stop()
	for {
		status, output := run.def.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		s.report(id, run, status, output)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// report counts a probe's result towards the check's thresholds and sets the status that they give.
func (s *Server) report(id string, run *runner, status, output string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runners[id] != run {
		return
	}
	c := run.def
	if status != "critical" {
		run.successes++
		run.failures = 0
		if run.successes >= c.SuccessBeforePassing {
			s.setStatus(id, status, output)
		}
		return
	}
	run.failures++
	run.successes = 0
	beforeWarning := c.FailuresBeforeWarning
	if beforeWarning == 0 {
		beforeWarning = c.FailuresBeforeCritical
	}
	switch {
	case run.failures >= c.FailuresBeforeCritical:
		s.setStatus(id, "critical", output)
	case run.failures >= beforeWarning:
		s.setStatus(id, "warning", output)
	}
}

// setStatus records what a check of the agent found. A new output alone wakes nobody: an agent tells the
// servers of it minutes later, lest every probe be a write.
func (s *Server) setStatus(id, status, output string) {
	n := s.self()
	if n == nil {
		return
	}
	old, i := n.check(id), n.owners[id]
	if old == nil || i == nil {
		return
	}
	if run := s.runners[id]; run != nil {
		switch {
		case status != "critical":
			run.criticalSince = time.Time{}
		case run.criticalSince.IsZero():
			run.criticalSince = time.Now()
		}
	}
	if old.Status == status && old.Output == output {
		return
	}
	rec := *old
	rec.Status, rec.Output = status, output
	if old.Status == status {
		i.checks[id] = &rec
		return
	}
	s.st.putCheck(s.st.begin(), n, i, rec)
}

// reap deregisters, now and then, services with a check that has been critical for too long.
func (s *Server) reap() {
	ticker := time.NewTicker(s.opts.ReapInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.reapOnce()
		}
	}
}

func (s *Server) reapOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.self()
	for id, run := range s.runners {
		after := time.Duration(run.def.DeregisterCriticalServiceAfter)
		if after == 0 {
			after = time.Duration(run.def.DeregisterCriticalServiceAfterSnake)
		}
		if after <= 0 || run.criticalSince.IsZero() {
			continue
		}
		if time.Since(run.criticalSince) <= max(after, s.opts.MinDeregisterAfter) {
			continue
		}
		if n != nil && n.owners[id] != nil {
			s.removeService(n.owners[id])
		}
	}
}

// probe does what the check says, once, and only on this machine.
func (c *checkType) probe(ctx context.Context) (status, output string) {
	timeout := time.Duration(c.Timeout)
	if timeout <= 0 {
		timeout = probeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var err error
	if c.HTTP != "" {
		status, output, err = c.probeHTTP(ctx)
	} else {
		status, output, err = c.probeTCP(ctx)
	}
	if err != nil {
		return "critical", err.Error()
	}
	return status, output
}

func (c *checkType) probeHTTP(ctx context.Context) (status, output string, err error) {
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, c.HTTP, strings.NewReader(c.Body))
	if err != nil {
		return "", "", err
	}
	if c.Header != nil {
		req.Header = http.Header(c.Header).Clone()
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "Consul Health Check")
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "text/plain, text/*, */*")
	}
	// No proxy, no connection kept: each probe is a fresh connection to this machine.
	client := http.Client{Transport: &http.Transport{
		DialContext:       dialLoopback,
		DisableKeepAlives: true,
		TLSClientConfig:   c.tlsConfig(),
	}}
	if c.DisableRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	// What was read until an error is still output: the status line has decided.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	output = fmt.Sprintf("HTTP %s %s: %s Output: %s", method, c.HTTP, resp.Status, body)
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode <= 299:
		return "passing", output, nil
	case resp.StatusCode == http.StatusTooManyRequests:
		return "warning", output, nil
	}
	return "critical", output, nil
}

func (c *checkType) probeTCP(ctx context.Context) (status, output string, err error) {
	conn, err := dialLoopback(ctx, "tcp", c.TCP)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	kind := "TCP"
	if c.TCPUseTLS || c.TCPUseTLSSnake {
		kind = "TCP+TLS"
		conf := c.tlsConfig()
		if conf.ServerName == "" {
			conf.ServerName, _, _ = net.SplitHostPort(c.TCP)
		}
		if err := tls.Client(conn, conf).HandshakeContext(ctx); err != nil {
			return "", "", err
		}
	}
	return "passing", fmt.Sprintf("%s connect %s: Success", kind, c.TCP), nil
}

func (c *checkType) tlsConfig() *tls.Config {
	name := c.TLSServerName
	if name == "" {
		name = c.TLSServerNameSnake
	}
	return &tls.Config{
		ServerName: name,
		MinVersion: tls.VersionTLS12,
		//nolint:gosec // whoever registers the check asks for it
		InsecureSkipVerify: c.TLSSkipVerify || c.TLSSkipVerifySnake,
	}
}

var errNotLoopback = errors.New("the dev registry checks loopback addresses only")

// dialLoopback dials addresses of this machine and nothing else. Names are not looked up, for that would leave
// the machine as well; "localhost" is known without.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	var d net.Dialer
	if strings.EqualFold(host, "localhost") {
		conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			conn, err = d.DialContext(ctx, network, net.JoinHostPort("::1", port))
		}
		return conn, err
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("dial %s: %w", addr, errNotLoopback)
	}
	return d.DialContext(ctx, network, addr)
}
