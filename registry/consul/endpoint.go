package consul

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/budget"
)

// maxBody limits an answer: about ten times the size of 10,000 checks.
const maxBody = 64 << 20

// endpoint is where and how to query an agent: the official client's settings, including its CONSUL_HTTP_* variables,
// overridden by our configuration.
type endpoint struct {
	metrics *Metrics       // nil: none
	name    string         // name of the registry, for the metrics
	budget  *budget.Budget // nil: limit each answer on its own

	heard *atomic.Int64 // time of the last good answer in Unix nanoseconds; 0: none yet

	// dial replaces the network in tests with a fake clock; nil is the network.
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	base   api.Config
	tls    *tls.Config
	token  func() string
	socket string
}

func newEndpoint(cfg Config) (endpoint, error) {
	base := *api.DefaultConfig()
	base.Transport = nil
	if cfg.Address != "" {
		base.Address = cfg.Address
	} else if os.Getenv(api.HTTPAddrEnvName) == "" {
		base.Address = defaultAddress
	}
	a, err := splitAddress(base.Address)
	if err != nil {
		return endpoint{}, err
	}
	set(&base.Scheme, a.scheme)
	set(&base.PathPrefix, a.prefix)
	base.Address = a.host
	e := endpoint{socket: a.socket, heard: new(atomic.Int64)}
	set(&base.Datacenter, cfg.Datacenter)
	set(&base.Namespace, cfg.Namespace)
	set(&base.Partition, cfg.Partition)
	set(&base.TLSConfig.CAFile, cfg.CAFile)
	set(&base.TLSConfig.CertFile, cfg.CertFile)
	set(&base.TLSConfig.KeyFile, cfg.KeyFile)
	set(&base.TLSConfig.Address, cfg.TLSServerName)
	base.TLSConfig.InsecureSkipVerify = base.TLSConfig.InsecureSkipVerify || cfg.InsecureSkipVerify
	if cfg.Token != "" {
		base.Token, base.TokenFile = cfg.Token, ""
	}
	set(&base.TokenFile, cfg.TokenFile)
	e.base = base
	return e, nil
}

// identify reads the token. A file is read again each time, as tokens are rotated in place.
func (e *endpoint) identify(log logrus.FieldLogger) error {
	file := e.base.TokenFile
	e.token = func() string { return e.base.Token }
	if file == "" {
		return nil
	}
	token := &renewed[string]{
		what: "the token", files: []string{file}, log: log,
		read: func() (string, error) { return readToken(file) },
	}
	e.token = token.current
	return token.load()
}

func set(to *string, value string) {
	if value != "" {
		*to = value
	}
}

func dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: 5 * time.Second,
		// Keep-alives also detect a dead peer between two answers.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4},
	}
}

// client makes a client with its own connections, at most limit unless that is 0. grace is how long an answer may take
// beyond the wait of its query.
func (e endpoint) client(cfg Config, limit int, grace time.Duration) (*client, error) {
	dialer := dialer()
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       e.tls.Clone(), // the transport modifies it
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxConnsPerHost:       limit,
		MaxIdleConnsPerHost:   max(limit, 8),
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Most answers are small, and each connection has two buffers.
		ReadBufferSize:         1 << 10,
		WriteBufferSize:        1 << 10,
		DisableCompression:     e.near(),
		MaxResponseHeaderBytes: 64 << 10,
	}
	if e.socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", e.socket)
		}
	}
	if e.dial != nil {
		transport.DialContext = e.dial
	}
	var conns connections
	transport.DialContext = conns.over(transport.DialContext)
	var proto atomic.Int32
	conf := e.base
	// Set here so that the client does not read the file itself, which may be missing at the moment.
	conf.Token, conf.TokenFile = e.token(), ""
	conf.HttpClient = &http.Client{
		Transport: e.metrics.over(bounded{next: transport, budget: e.budget, peer: e.base.Address, proto: &proto}, e.name),
		// A redirect would send the token to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := api.NewClient(&conf)
	if err != nil {
		return nil, during("make a Consul client", err)
	}
	return &client{
		api: a, close: func() { transport.CloseIdleConnections(); conns.close() }, cfg: cfg, base: e.base, grace: grace, waits: &waits{most: cfg.Wait},
		overload: make(note, 1), token: e.token, multiplexed: func() bool { return proto.Load() == 2 },
		answered: func() { e.heard.Store(time.Now().UnixNano()) },
	}, nil
}

// near reports whether the agent is on this machine, where compressing an answer costs more than sending it.
func (e endpoint) near() bool {
	host, _, err := net.SplitHostPort(e.base.Address)
	if err != nil {
		host = strings.Trim(e.base.Address, "[]")
	}
	addr, err := netip.ParseAddr(host)
	return e.socket != "" || host == "localhost" || err == nil && addr.IsLoopback()
}

// connections are the open connections of a client. Go's transport does not close an HTTP/2 connection that is not idle
// yet.
type connections struct {
	mu   sync.Mutex
	open map[*connection]bool
}

type connection struct {
	net.Conn
	of *connections
}

type dialing func(ctx context.Context, network, addr string) (net.Conn, error)

func (c *connections) over(dial dialing) dialing {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		one := &connection{Conn: conn, of: c}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.open == nil {
			c.open = map[*connection]bool{}
		}
		c.open[one] = true
		return one, nil
	}
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := range c.open {
		_ = one.Conn.Close()
	}
	clear(c.open)
}

// readToken reads a token file. An empty file is an error: without a token less would be visible.
func readToken(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", during("read token_file", err)
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("token_file %s is empty", file)
	}
	return token, nil
}

var errForeign = errors.New("the answer is HTML: this is not Consul's API")

// bounded refuses what no Consul would send: endless bodies and pages of HTML.
type bounded struct {
	next   http.RoundTripper
	budget *budget.Budget
	peer   string
	proto  *atomic.Int32 // HTTP version of the last answer
}

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	b.proto.Store(int32(resp.ProtoMajor)) //nolint:gosec // 1 or 2
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && kind == "text/html" {
		_ = resp.Body.Close()
		return nil, errForeign
	}
	left, length := int64(maxBody), resp.ContentLength
	if resp.StatusCode != http.StatusOK {
		left, length = 4<<10, -1 // its beginning tells why
	}
	sip, ok := req.Context().Value(sipKey{}).(sip)
	if !ok || resp.StatusCode != http.StatusOK {
		resp.Body = b.budget.Body(resp.Body, length, left, b.peer)
		return resp, nil
	}
	budget := b.budget
	if !sip.keeps {
		budget = nil // what is never kept does not count
	}
	resp.Body = &sipped{ReadCloser: budget.Body(resp.Body, length, left, b.peer), read: sip.read}
	return resp, nil
}

// sip reads an answer as it arrives, before the client decodes it, and returns what is left for the client. keeps
// reports that it keeps the bytes.
type sip struct {
	read  func(io.Reader) ([]byte, error)
	keeps bool
}

type sipKey struct{}

func sipping(ctx context.Context, s sip) context.Context { return context.WithValue(ctx, sipKey{}, s) }

// nothing replaces an answer that is an object.
const nothing = "{}"

// sipped is the body of such an answer.
type sipped struct {
	io.ReadCloser
	read func(io.Reader) ([]byte, error)
	left *bytes.Reader
}

// Read implements [io.Reader].
func (s *sipped) Read(p []byte) (int, error) {
	if s.left == nil {
		left, err := s.read(s.ReadCloser)
		if err != nil {
			return 0, err
		}
		// Read to the end, so that the connection can be reused.
		if _, err := io.Copy(io.Discard, s.ReadCloser); err != nil {
			return 0, err
		}
		s.left = bytes.NewReader(left)
	}
	return s.left.Read(p)
}
