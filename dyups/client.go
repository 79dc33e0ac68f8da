package dyups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"swallowkeeper/internal/budget"
	"swallowkeeper/upstream"
)

// Maximum response sizes.
const (
	maxDetail   = 64 << 20 // if it is unknown what was written
	maxList     = 16 << 20
	maxUpstream = 1 << 20
	maxResult   = 64 << 10
)

// Client calls the HTTP API of dyups, either Tengine's or the standalone module's. It does not retry. Each call is
// answered by one nginx worker, from its own copy of the upstreams.
type Client struct {
	// BaseURL is the scheme and host of the interface, without a path.
	BaseURL string
	// HTTPClient makes the calls; nil means [http.DefaultClient].
	HTTPClient *http.Client
	// Budget limits the memory for the answers of all peers together; with nil, each answer only has its own limit.
	Budget *budget.Budget
}

// NewClient returns a client for an address as in [Config]: http://host:port or unix:/path.
func NewClient(address string) *Client {
	base, dial := endpoint(address)
	return &Client{BaseURL: base, HTTPClient: &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			// The module joins the first two buffers of a body, drops the rest, and reports success. So header and body
			// must leave in a single write.
			WriteBufferSize: 64 << 10,
		},
		CheckRedirect: noRedirect,
	}}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// List returns the names of all upstreams that dyups knows. A 204 answer means none.
func (c *Client) List(ctx context.Context) ([]string, error) {
	call := call{op: "list upstreams", method: http.MethodGet, path: "/list", limit: maxList}
	var body bytes.Buffer
	if err := c.do(ctx, call, &body); err != nil {
		return nil, err
	}
	names, err := parseList(body.Bytes())
	if err != nil {
		return nil, call.garbled(body.Bytes(), err)
	}
	return names, nil
}

// Detail returns all upstreams with the server options that the build shows. Older builds do not have this call: see
// [Error.NotFound].
func (c *Client) Detail(ctx context.Context) (Detail, error) {
	var body bytes.Buffer
	if err := c.rawDetail(ctx, &body, maxDetail); err != nil {
		return Detail{}, err
	}
	return decodeDetail(body.Bytes())
}

func detailCall() call {
	return call{op: "read upstreams", method: http.MethodGet, path: "/detail"}
}

func (c *Client) rawDetail(ctx context.Context, body *bytes.Buffer, limit int64) error {
	call := detailCall()
	call.limit = limit
	return c.do(ctx, call, body)
}

func decodeDetail(body []byte) (Detail, error) {
	d, err := parseDetail(body)
	if err != nil {
		return Detail{}, detailCall().garbled(body, err)
	}
	return d, nil
}

// Upstream returns the addresses of an upstream, in order. An address that is not an IP address is the zero AddrPort.
func (c *Client) Upstream(ctx context.Context, name string) ([]netip.AddrPort, error) {
	call := call{op: "read upstream", name: name, method: http.MethodGet, limit: maxUpstream}
	var body bytes.Buffer
	if err := c.do(ctx, call, &body); err != nil {
		return nil, err
	}
	addrs, err := parseUpstream(body.Bytes())
	if err != nil {
		return nil, call.garbled(body.Bytes(), err)
	}
	return addrs, nil
}

// Post adds or replaces an upstream; body is in nginx syntax. It rejects an empty body, because dyups would answer 204
// and change nothing.
func (c *Client) Post(ctx context.Context, name string, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return fmt.Errorf("post upstream %s: the body is empty", name)
	}
	return c.change(ctx, call{
		op: "post upstream", name: name, method: http.MethodPost, body: body, limit: maxResult,
	})
}

// Delete deletes an upstream.
func (c *Client) Delete(ctx context.Context, name string) error {
	return c.change(ctx, call{op: "delete upstream", name: name, method: http.MethodDelete, limit: maxResult})
}

func (c *Client) change(ctx context.Context, call call) error {
	var body bytes.Buffer
	if err := c.do(ctx, call, &body); err != nil {
		return err
	}
	if s := strings.TrimSpace(body.String()); s != "success" {
		return call.garbled(body.Bytes(), errors.New("the answer is not success"))
	}
	return nil
}

type call struct {
	op, name, method string
	path             string // "": the path of the named upstream
	body             []byte
	limit            int64
}

func (c call) garbled(body []byte, err error) error {
	return &Error{Op: c.op, Name: c.name, Status: http.StatusOK, Body: excerpt(body), Err: err}
}

// do makes a call and reads the whole answer into body. Success is 200, or 204 for a GET.
func (c *Client) do(ctx context.Context, call call, body *bytes.Buffer) error {
	path := call.path
	if path == "" {
		path = "/upstream/" + url.PathEscape(call.name)
	}
	var sent io.Reader
	if call.body != nil {
		sent = bytes.NewReader(call.body)
	}
	req, err := http.NewRequestWithContext(ctx, call.method, c.BaseURL+path, sent)
	if err != nil {
		return fmt.Errorf("%s: %w", call.what(), err)
	}
	client := c.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req) //nolint:bodyclose // the budget closes it
	if err != nil {
		return fmt.Errorf("%s: %w", call.what(), err)
	}
	answer := c.Budget.Body(resp.Body, resp.ContentLength, call.limit, c.BaseURL)
	defer answer.Close()

	body.Reset()
	const mostAtOnce = 1 << 20 // the length is only the server's claim
	if n := min(resp.ContentLength, call.limit, mostAtOnce); n > 0 {
		body.Grow(int(n) + bytes.MinRead)
	}
	_, err = body.ReadFrom(answer)
	switch {
	case err != nil:
		*body = bytes.Buffer{} // it may have grown large
		return fmt.Errorf("%s: read the answer: %w", call.what(), err)
	case resp.StatusCode == http.StatusOK,
		resp.StatusCode == http.StatusNoContent && call.method == http.MethodGet:
		return nil
	}
	return &Error{Op: call.op, Name: call.name, Status: resp.StatusCode, Body: excerpt(body.Bytes())}
}

func (c call) what() string { return what(c.op, c.name) }

func what(op, name string) string {
	switch {
	case name == "":
		return op
	case upstream.ValidName(name) == nil:
		return op + " " + name
	default:
		return fmt.Sprintf("%s %.60q", op, name)
	}
}
