package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"swallowkeeper/guard"
)

// How long a connection may take, and an answer by HTTP with it.
const (
	connectLimit = time.Second
	answerLimit  = 2 * time.Second
)

// connect opens a connection and closes it again.
func connect(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// getter asks for a path by HTTP.
func getter(path string) func(context.Context, netip.AddrPort) error {
	client := &http.Client{
		Transport: &http.Transport{ // no proxy: it would answer for everybody
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
			DialContext: (&net.Dialer{Timeout: connectLimit}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, addr netip.AddrPort) error {
		ctx, cancel := context.WithTimeout(ctx, answerLimit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, http.NoBody)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "swallowkeeper")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	}
}

// judge says what a try tells of the server: nothing where what failed is on this machine, which has no way there, or
// no file left for a connection.
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

// ours are the errors that this machine makes by itself. EHOSTUNREACH is not one: so a host is told of that is
// switched off.
func ours() []syscall.Errno {
	return []syscall.Errno{
		syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EINVAL,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EACCES, syscall.EPERM,
	}
}
