package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"swallowkeeper/guard"
)

// Timeouts of a connection, and of an HTTP request including it.
const (
	connectLimit = time.Second
	answerLimit  = 2 * time.Second
)

// connect opens and closes a connection.
func connect(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// maxHeader limits the header of an answer, in bytes.
const maxHeader = 64 << 10

// getter returns a function that requests a path by HTTP. It avoids [http.Client], whose goroutines outlive an answer.
func getter(path string) func(context.Context, netip.AddrPort) error {
	return func(ctx context.Context, addr netip.AddrPort) error {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "swallowkeeper")
		req.Close = true
		c, err := (&net.Dialer{Timeout: connectLimit}).DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		defer c.Close()
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(ended)
			_ = c.SetDeadline(time.Now()) // an error means that the connection is closed already
		})
		defer func() {
			if !stop() {
				<-ended
			}
		}()
		if err := req.Write(c); err != nil {
			return err
		}
		in := bufio.NewReader(io.LimitReader(c, maxHeader))
		for {
			resp, err := http.ReadResponse(in, req) //nolint:bodyclose // that would read it, and the connection is closed
			switch {
			case err != nil:
				return err
			case resp.StatusCode >= http.StatusInternalServerError:
				return fmt.Errorf("it answers %s", resp.Status)
			case resp.StatusCode >= http.StatusOK, resp.StatusCode == http.StatusSwitchingProtocols:
				return nil
			}
		}
	}
}

// judge interprets the result of a try. Errors of this machine, such as a missing route or no free file descriptor, say
// nothing about the server.
func judge(err error) guard.Answer {
	var number syscall.Errno
	switch {
	case err == nil:
		return guard.Answered
	case errors.As(err, &number) && slices.Contains(ours(), number):
		return guard.Untried
	}
	return guard.Refused
}

// ours returns the errors that this machine causes itself. EHOSTUNREACH is not among them: it is what a host that is
// switched off results in.
func ours() []syscall.Errno {
	return []syscall.Errno{
		syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EINVAL,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EACCES, syscall.EPERM,
	}
}
