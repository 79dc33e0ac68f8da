package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/registry"
)

const (
	// callLimit is the timeout of a call: a starting dockerd accepts calls but answers none for half a minute.
	callLimit = 30 * time.Second
	dialLimit = 10 * time.Second
	// mostAnswer limits an answer: 10,000 containers take about 40 MB.
	mostAnswer = 64 << 20
	// mostEvent limits an event with its labels.
	mostEvent = 1 << 20
)

// engine is a client of a Docker engine for one session. It uses the API version negotiated at the beginning.
type engine struct {
	*client.Client
	transport *http.Transport
	streams   atomic.Bool // the engine has begun to send events
	host      string
	limit     time.Duration
}

// connect negotiates the API version. A replaced dockerd may have another one, so a session ends with its stream of
// events.
func (r *Registry) connect(ctx context.Context) (*engine, error) {
	host := r.cfg.host(os.Getenv)
	proto, addr, err := splitHost(host)
	if err != nil {
		return nil, registry.Lasting(err)
	}
	e := &engine{host: host, limit: r.limit, transport: &http.Transport{
		DisableCompression: proto == "unix", MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, proto, addr)
		},
	}}
	scheme := "http"
	if proto == "tcp" {
		if e.transport.TLSClientConfig, err = r.cfg.tlsConfig(); err != nil {
			return nil, err
		}
		if e.transport.TLSClientConfig != nil {
			scheme = "https"
		}
	}
	e.Client, err = client.New(client.WithHost(host), client.WithScheme(scheme), client.WithHTTPClient(&http.Client{
		Transport:     &bounded{RoundTripper: e.transport, budget: r.budget, peer: shownHost(host), streams: &e.streams},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	if err != nil {
		return nil, registry.Lasting(err)
	}
	if _, err := call(ctx, e, "agree upon a version", func(ctx context.Context) (client.PingResult, error) {
		return e.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	}); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// close closes idle connections. Calls in progress end with their context.
func (e *engine) close() { e.transport.CloseIdleConnections() }

// call makes a call with the timeout. Its error says what was asked, and what to do.
func call[T any](ctx context.Context, e *engine, what string, ask func(context.Context) (T, error)) (T, error) {
	within, cancel := context.WithTimeout(ctx, e.limit)
	defer cancel()
	answer, err := ask(within)
	if err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			err = fmt.Errorf("no answer in %s", e.limit)
		}
		err = fmt.Errorf("%s of the Docker engine at %s: %w", what, safetext.Quote(shownHost(e.host)), e.explained(err))
	}
	return answer, err
}

// explained adds to an error what to do, if known.
func (e *engine) explained(err error) error {
	text := err.Error()
	var u *url.Error
	if errors.As(err, &u) {
		text = u.Err.Error()
	}
	text = strings.TrimPrefix(text, "Error response from daemon: ")
	switch {
	case errors.Is(err, syscall.EACCES) || strings.Contains(text, "permission denied"):
		return errors.New("permission denied: the user of swallowkeeper must be in the group docker")
	case errors.Is(err, syscall.ENOENT) || strings.Contains(text, "no such file or directory"):
		return errors.New("no such socket: is dockerd running? host, or DOCKER_HOST, says where it listens")
	case strings.Contains(text, "This node is not a swarm manager"):
		return registry.Lasting(notManager.Err())
	case strings.Contains(text, "is not supported by this client"), strings.Contains(text, "is too old"), strings.Contains(text, "is too new"):
		return registry.Lasting(fmt.Errorf("%s; swallowkeeper speaks %s to %s", safetext.Quote(text), client.MinAPIVersion, client.MaxAPIVersion))
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%s (%w)", safetext.Quote(text), errdefs.ErrNotFound)
	}
	return errors.New(safetext.Quote(text))
}

// tlsConfig returns nil if TLS is not configured.
func (c *Config) tlsConfig() (*tls.Config, error) {
	folder, verify := c.tls()
	if folder == "" {
		return nil, nil //nolint:nilnil // plain HTTP is not an error
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	authorities, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(folder, "ca.pem"))
	}
	// As in docker itself: without tls_verify the connection is encrypted, but the server is not verified.
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: pool, InsecureSkipVerify: !verify}, nil
}

// bounded refuses responses that are not from an engine, which the client would accept, and limits all others.
type bounded struct {
	http.RoundTripper
	budget  *budget.Budget
	peer    string
	streams *atomic.Bool
}

// RoundTrip implements [http.RoundTripper].
func (b *bounded) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := b.RoundTripper.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	if q.Method == http.MethodGet && a.StatusCode != http.StatusOK && a.StatusCode < http.StatusBadRequest {
		a.Body.Close()
		return nil, fmt.Errorf("the answer is %q", a.Status)
	}
	if strings.HasSuffix(q.URL.Path, "/events") {
		b.streams.Store(a.StatusCode == http.StatusOK)
		a.Body = &lines{ReadCloser: a.Body, peer: b.peer}
	} else {
		a.Body = b.budget.Body(a.Body, a.ContentLength, mostAnswer, b.peer)
	}
	return a, nil
}

// lines limits the length of a line.
type lines struct {
	io.ReadCloser
	peer string
	read int64 // since the last line end
}

// Read implements [io.Reader].
func (l *lines) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if i := strings.LastIndexByte(string(p[:n]), '\n'); i >= 0 {
		l.read = int64(n - i - 1)
	} else if l.read += int64(n); l.read > mostEvent {
		return 0, &budget.TooLargeError{Peer: l.peer, Size: l.read, Most: mostEvent}
	}
	return n, err
}
