package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/budget"
)

// maxBody bounds one answer: some ten times what 10,000 checks take.
const maxBody = 64 << 20

// endpoint is where and how an agent is asked: the official client's own settings, with
// the CONSUL_HTTP_* variables that it honours, under those of our configuration.
type endpoint struct {
	metrics *Metrics       // nil: none
	name    string         // of the registry, for the metrics
	budget  *budget.Budget // nil: each answer is bounded by itself

	heard *atomic.Int64 // when the last good answer came, in nanoseconds of Unix; 0: never

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

// identify reads the token that is sent, each time anew where it stands in a file: tokens are rotated in place.
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

// client makes a client with connections of its own, at most limit where that is not 0.
// Grace is how long an answer may take beyond what its query waits for.
func (e endpoint) client(cfg Config, limit int, grace time.Duration) (*client, error) {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		// A peer that is gone without a word is noticed between two answers, too.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4},
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		TLSClientConfig:       e.tls,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		HTTP2:                 &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxConnsPerHost:       limit,
		MaxIdleConnsPerHost:   max(limit, 8),
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Most answers are small, and there is a pair of buffers a connection.
		ReadBufferSize:  1 << 10,
		WriteBufferSize: 1 << 10,
		// On one machine packing costs more than sending.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	if e.socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", e.socket)
		}
	}
	var proto atomic.Int32
	conf := e.base
	// Given, so that the client does not read the file itself: just now it may not be there.
	conf.Token, conf.TokenFile = e.token(), ""
	conf.HttpClient = &http.Client{
		Transport: e.metrics.over(bounded{next: transport, budget: e.budget, peer: e.base.Address, proto: &proto}, e.name),
		// A redirect would lead to another server, and take the token along.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := api.NewClient(&conf)
	if err != nil {
		return nil, during("make a Consul client", err)
	}
	return &client{
		api: a, close: transport.CloseIdleConnections, cfg: cfg, grace: grace, waits: &waits{most: cfg.Wait},
		token: e.token, multiplexed: func() bool { return proto.Load() == 2 },
		answered: func() { e.heard.Store(time.Now().UnixNano()) },
	}, nil
}

// readToken reads a token file. One that is empty is an error: asking without a token
// would show less than there is.
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

// bounded cuts what no Consul would answer: bodies without end and pages of HTML.
type bounded struct {
	next   http.RoundTripper
	budget *budget.Budget
	peer   string
	proto  *atomic.Int32 // the version of HTTP that the last answer came by
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
		left, length = 4<<10, -1 // its beginning says why
	}
	resp.Body = b.budget.Body(resp.Body, length, left, b.peer)
	return resp, nil
}
