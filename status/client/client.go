// Package client calls the API of a running swallowkeeper, over its unix socket or at an address with a token. It does
// not retry.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/budget"
	"swallowkeeper/status"
)

// maxAnswer limits the decompressed size of an answer, far above thousands of upstreams.
const maxAnswer = 64 << 20

// Client is a client of one daemon.
type Client struct {
	base  string
	token string
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	http  *http.Client
}

// Error is an error answer.
type Error struct {
	Code int    // HTTP status
	Text string // the daemon's message
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Is reports whether the error is of one of the daemon's kinds.
func (e *Error) Is(kind error) bool {
	return kind == status.ErrNotFound && e.Code == http.StatusNotFound
}

// ErrUnreachable is wrapped by the error if no daemon answers.
var ErrUnreachable = errors.New("the daemon does not answer")

// Socket returns a client over a unix socket.
func Socket(path string) *Client {
	return dialing("http://localhost", "", func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "unix", path)
	})
}

// Address returns a client for an address, http://host:port. The token may be empty.
func Address(base, token string) *Client {
	return dialing(strings.TrimSuffix(base, "/"), token, dialer.DialContext)
}

var dialer = &net.Dialer{Timeout: 2 * time.Second}

func dialing(base, token string, dial func(context.Context, string, string) (net.Conn, error)) *Client {
	return &Client{base: base, token: token, dial: dial, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// HasToken reports whether changes are sent with a token.
func (c *Client) HasToken() bool { return c.token != "" }

// Reach returns an error if nothing listens there.
func (c *Client) Reach(ctx context.Context) error {
	at, err := url.Parse(c.base)
	if err != nil {
		return err
	}
	port := at.Port()
	if port == "" {
		port = at.Scheme // the dialer knows the ports of http and https
	}
	conn, err := c.dial(ctx, "tcp", net.JoinHostPort(at.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Close closes the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns the current status.
func (c *Client) Status(ctx context.Context) (st status.Status, err error) {
	err = c.call(ctx, http.MethodGet, "/api/v1/status", nil, &st)
	return st, err
}

// Upstreams returns all upstreams.
func (c *Client) Upstreams(ctx context.Context) ([]status.Upstream, error) {
	var a struct{ Upstreams []status.Upstream }
	err := c.call(ctx, http.MethodGet, "/api/v1/upstreams", nil, &a)
	return a.Upstreams, err
}

// Explain returns why each instance of an upstream is in or out.
func (c *Client) Explain(ctx context.Context, name string) (e status.Explanation, err error) {
	err = c.call(ctx, http.MethodGet, "/api/v1/upstreams/"+url.PathEscape(name), nil, &e)
	return e, err
}

// Plan returns what the next pass would do.
func (c *Client) Plan(ctx context.Context) (p status.Plan, err error) {
	err = c.call(ctx, http.MethodGet, "/api/v1/plan", nil, &p)
	return p, err
}

// History returns the generations in the history, newest first.
func (c *Client) History(ctx context.Context) ([]status.Generation, error) {
	var a struct{ Generations []status.Generation }
	err := c.call(ctx, http.MethodGet, "/api/v1/history", nil, &a)
	return a.Generations, err
}

// Diff returns the changes from one generation to another.
func (c *Client) Diff(ctx context.Context, from, to int) (d status.Changes, err error) {
	err = c.call(ctx, http.MethodGet, "/api/v1/diff?from="+strconv.Itoa(from)+"&to="+strconv.Itoa(to), nil, &d)
	return d, err
}

// Timeline returns up to most of the newest events, oldest first.
func (c *Client) Timeline(ctx context.Context, most int) ([]status.Event, error) {
	var a struct{ Events []status.Event }
	err := c.call(ctx, http.MethodGet, "/api/v1/timeline?last="+strconv.Itoa(most), nil, &a)
	return a.Events, err
}

// because returns the query with an order's reason.
func because(why string) string {
	if why == "" {
		return ""
	}
	return "?why=" + url.QueryEscape(why)
}

// Approve lets a hold pass. Here and below, why is the person's reason, which may be "".
func (c *Client) Approve(ctx context.Context, id, why string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/holds/"+url.PathEscape(id)+"/approve"+because(why), struct{}{}, nil)
}

// Freeze keeps an upstream, or everything, as it is.
func (c *Client) Freeze(ctx context.Context, f status.FreezeRequest, why string) error {
	return c.call(ctx, http.MethodPost, "/api/v1/freezes"+because(why), f, nil)
}

// Unfreeze ends a freeze.
func (c *Client) Unfreeze(ctx context.Context, name, why string) error {
	return c.call(ctx, http.MethodDelete, "/api/v1/freezes/"+url.PathEscape(name)+because(why), nil, nil)
}

// RollbackPlan returns what a rollback to a generation would do.
func (c *Client) RollbackPlan(ctx context.Context, generation int) (p status.RollbackPlan, err error) {
	err = c.call(ctx, http.MethodGet, "/api/v1/rollback?generation="+strconv.Itoa(generation), nil, &p)
	return p, err
}

// Rollback goes back to a generation and freezes everything.
func (c *Client) Rollback(ctx context.Context, generation int, why string) (r status.RollbackResult, err error) {
	err = c.call(ctx, http.MethodPost, "/api/v1/rollback"+because(why), status.RollbackRequest{Generation: generation}, &r)
	return r, err
}

// Watch calls f with each event, and with the status at the start and after events, until ctx ends, f returns false, or
// the daemon stops. One argument of f is always nil. If *last is the ID of an event, the events since then come first.
// Watch updates *last.
func (c *Client) Watch(ctx context.Context, last *uint64, f func(*status.Status, *status.Event) bool) error {
	header := http.Header{}
	if *last > 0 {
		header.Set("Last-Event-ID", strconv.FormatUint(*last, 10))
	}
	resp, err := c.send(ctx, http.MethodGet, "/api/v1/events", nil, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	kind := ""
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "id":
			if id, err := strconv.ParseUint(value, 10, 64); err == nil {
				*last = id
			}
		case "event":
			kind = value
		case "data":
			var more bool
			if kind == "status" {
				var st status.Status
				if err := json.Unmarshal([]byte(value), &st); err != nil {
					return fmt.Errorf("read an event: %w", err)
				}
				more = f(&st, nil)
			} else {
				var e status.Event
				if err := json.Unmarshal([]byte(value), &e); err != nil {
					return fmt.Errorf("read an event: %w", err)
				}
				more = f(nil, &e)
			}
			if !more {
				return nil
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	return fmt.Errorf("the events ended: %w", ErrUnreachable)
}

func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	resp, err := c.send(ctx, method, path, body, http.Header{})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if into == nil {
		return nil
	}
	var alone *budget.Budget
	if err := json.NewDecoder(alone.Body(resp.Body, resp.ContentLength, maxAnswer, c.base)).Decode(into); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	req.Header = header
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" && method != http.MethodGet { // reads do not need it
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("no right to the socket: run this as the daemon's account, as a member of its group, or as root: %w", err)
		case errors.Is(err, context.DeadlineExceeded):
			text := "the daemon did not answer in time: it runs, but hangs or is slow, see its log"
			if method != http.MethodGet {
				text += "; it may still do it, look with swallowkeeper status"
			}
			return nil, fmt.Errorf("%s: %w", text, context.DeadlineExceeded)
		}
		var refused *net.OpError
		if errors.As(err, &refused) && refused.Op == "dial" {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, refused)
		}
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	var answer struct{ Error string }
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && json.Unmarshal(text, &answer) == nil && answer.Error != "" {
		return nil, &Error{Code: resp.StatusCode, Text: answer.Error}
	}
	return nil, &Error{Code: resp.StatusCode, Text: fmt.Sprintf("%s %s: the daemon answers %s", method, path, resp.Status)}
}
