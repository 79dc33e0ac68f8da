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

// Parts are what a server shows beside the API.
type Parts struct {
	Metrics http.Handler // at /metrics; nil: none
	Page    http.Handler // at / and for what belongs to it; nil: none
	Log     logrus.FieldLogger
}

// Site serves the operator's surface at an address and on a unix socket.
type Site struct {
	config  Config
	daemon  Daemon
	parts   Parts
	secret  token
	streams chan struct{} // has room for as many event streams as there may be
	answers chan struct{} // has room for as many large answers as are made at once
	ending  chan struct{} // closed when the event streams must end
	tcp     net.Listener  // nil: none
	unix    net.Listener  // nil: none
}

// Limits of what a client may ask for.
const (
	mostStreams = 64
	// mostConnections is at the address, which anybody may reach, and as many at the socket: see crowd.
	mostConnections = 512
	mostBody        = 64 << 10
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	// workTimeout is what the daemon may take of answerTimeout.
	answerTimeout = 30 * time.Second
	workTimeout   = 25 * time.Second
	idleTimeout   = 2 * time.Minute
	// grace is how long an answer under way may take at the end.
	grace = 2 * time.Second
)

// Listen takes the address and the socket. Close, or the end of Serve, gives them back.
func Listen(c Config, d Daemon, p Parts) (*Site, error) {
	secret, err := readToken(c)
	if err != nil {
		return nil, err
	}
	s := &Site{config: c, daemon: d, parts: p, secret: secret}
	s.streams, s.ending = make(chan struct{}, mostStreams), make(chan struct{})
	s.answers = make(chan struct{}, mostAnswers)
	if c.Address != "" {
		tcp, err := net.Listen("tcp", c.Address) //nolint:noctx // it ends at once
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

// URL is the page's, "" where there is no address.
func (s *Site) URL() string {
	if s.tcp == nil {
		return ""
	}
	return "http://" + s.tcp.Addr().String() + "/"
}

// Close gives address and socket back.
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

// Serve answers until the context ends, and lets what is under way end shortly. It can be
// called once. Another configuration takes another Site, once this one has ended.
func (s *Site) Serve(ctx context.Context) error {
	defer func() { _ = s.Close() }() // what a server has closed is closed already
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { close(s.ending) })()
	// What is under way, a rollback perhaps, goes on for a moment when the context ends.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	serve := func(l net.Listener, trusted bool) {
		if l == nil {
			return
		}
		bounded := newCrowd(l, mostConnections)
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

// listenUnix takes a socket that the account and its group may write to. It is made under
// another name and gets its own once its mode is set, so nobody else gets in meanwhile. A
// socket that a killed process left gives way, one that somebody answers at does not. The folder
// may be another account's, which could put links there: mode and name are set below what was opened.
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
	l.SetUnlinkOnClose(false) // the name that it was made under is not its own any more
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

// free reports whether the name may be taken: nothing has it, or a socket that nobody answers at.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("%s: it is there and no socket: move it away", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second) //nolint:noctx // it has its limit
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%s: another process answers there", path), c.Close())
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("whether another process answers there: %w", err)
	}
	return nil
}

// socket takes its name away at the end, unless another has it by then.
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

// readToken reads the token of the configuration; without one there is none. It is called after its file, and
// never as a user may be.
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
