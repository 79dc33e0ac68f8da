package status

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"swallowkeeper/internal/logs"
)

// Parts are what a server serves besides the API.
type Parts struct {
	Metrics http.Handler // at /metrics; nil: none
	Page    http.Handler // at / and below; nil: none
	Log     logrus.FieldLogger
}

// Site serves the operator's interface at an address and on a unix socket.
type Site struct {
	config  Config
	daemon  Daemon
	parts   Parts
	secret  token
	streams chan struct{} // its capacity limits event streams
	answers chan struct{} // its capacity limits concurrent large answers
	ending  chan struct{} // closed when event streams must end
	tcp     net.Listener  // nil: none
	unix    net.Listener  // nil: none
}

// Limits on clients.
const (
	maxStreams = 64
	// maxConnections applies to the address, which anyone may reach, and separately to the socket: see connLimiter.
	maxConnections = 512
	maxBody        = 64 << 10
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	// workTimeout is the daemon's share of answerTimeout.
	answerTimeout = 30 * time.Second
	workTimeout   = 25 * time.Second
	idleTimeout   = 2 * time.Minute
	// grace is how long an answer in progress may take at shutdown.
	grace = 2 * time.Second
)

// Listen opens the address and the socket. Close, or the end of Serve, releases them.
func Listen(c Config, d Daemon, p Parts) (*Site, error) {
	secret, err := readToken(c)
	if err != nil {
		return nil, err
	}
	s := &Site{config: c, daemon: d, parts: p, secret: secret}
	s.streams, s.ending = make(chan struct{}, maxStreams), make(chan struct{})
	s.answers = make(chan struct{}, maxAnswers)
	if c.Address != "" {
		tcp, err := net.Listen("tcp", c.Address) //nolint:noctx // returns at once
		if err != nil {
			return nil, fmt.Errorf("status.address: %w", err)
		}
		s.tcp = tcp
	}
	if c.Socket != "" {
		if s.unix, err = listenUnix(c.Socket); err != nil {
			return nil, errors.Join(fmt.Errorf("status.socket: %w", err), s.Close())
		}
	}
	return s, nil
}

// URL returns the URL of the page, or "" without an address.
func (s *Site) URL() string {
	if s.tcp == nil {
		return ""
	}
	return "http://" + s.tcp.Addr().String() + "/"
}

// Close releases the address and the socket.
func (s *Site) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Serve answers requests until ctx ends, and then gives requests in progress a short time. It can be called once. A new
// configuration needs a new Site, after this one has ended.
func (s *Site) Serve(ctx context.Context) error {
	defer func() { _ = s.Close() }() // the servers have closed their listeners already
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { close(s.ending) })()
	// Requests in progress, such as a rollback, go on for a moment after ctx ends.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	serve := func(l net.Listener, trusted bool) {
		if l == nil {
			return
		}
		bounded := newConnLimiter(l, maxConnections)
		server := &http.Server{
			Handler:           s.handler(trusted),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      answerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          logs.Standard(s.parts.Log, "the status server"),
			BaseContext:       func(net.Listener) context.Context { return base },
			ConnContext:       withPeer,
			ConnState:         bounded.moved,
		}
		group.Go(func() error {
			if err := server.Serve(bounded); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			last, cancel := context.WithTimeout(base, grace)
			defer cancel()
			if server.Shutdown(last) != nil {
				return server.Close()
			}
			return nil
		})
	}
	serve(s.tcp, false)
	serve(s.unix, true)
	group.Go(func() error { <-ctx.Done(); return nil })
	return group.Wait()
}

// listenUnix opens a socket that the account and its group may write to. The socket is created under a private name and
// renamed once its mode is set, so nobody else can connect in between. A socket left by a killed process is replaced;
// one that a process answers on is not. The folder may belong to another account, which could put symbolic links into
// it, so mode and name are set relative to the open folder.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := free(path); err != nil {
		return nil, err
	}
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	private := ".s-" + rand.Text()[:8]
	if err := folder.Mkdir(private, 0o700); err != nil {
		return nil, err
	}
	defer func() { _ = folder.RemoveAll(private) }()
	made := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder.Name(), made), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will be renamed
	if err = folder.Chmod(made, 0o660); err == nil {
		err = folder.Rename(made, filepath.Base(path))
	}
	var own os.FileInfo
	if err == nil {
		own, err = folder.Lstat(filepath.Base(path))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{UnixListener: l, path: path, own: own}, nil
}

// free returns an error unless the name is unused, or is a socket on which nobody answers.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s: it exists and is not a socket: move it away", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second) //nolint:noctx // has its own timeout
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s: another process answers there", path), c.Close())
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("whether another process answers there: %w", err)
	}
	return nil
}

// socket removes its file on Close, unless another has replaced it.
type socket struct {
	*net.UnixListener
	path string
	own  os.FileInfo
}

func (s *socket) Close() error {
	if err := s.UnixListener.Close(); err != nil {
		return err
	}
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.own) {
		return os.Remove(s.path)
	}
	return nil
}

// readToken reads the configured token. It is named after its file; the name is never that of a user.
func readToken(c Config) (token, error) {
	name, text := "token", c.Token
	if c.TokenFile != "" {
		content, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return token{}, fmt.Errorf("status.token_file: %w", err)
		}
		if text = strings.TrimSpace(string(content)); len(text) < 16 {
			return token{}, fmt.Errorf("status.token_file: %s has fewer than 16 characters", c.TokenFile)
		}
		name = "token " + filepath.Base(c.TokenFile)
	}
	return newToken(name, text), nil
}
