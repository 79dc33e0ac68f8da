package caddy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/safetext"
)

// reading names the attempt in errors of answers that may not be Caddy's.
const reading = "read the configuration"

const (
	mostConfig = 64 << 20
	mostResult = 64 << 10
)

// Client calls Caddy's admin API. It does not retry.
type Client struct {
	// BaseURL is scheme and host of the API, without a path.
	BaseURL string
	// HTTPClient sends the requests.
	HTTPClient *http.Client
	// Host overrides BaseURL's host in the Host header.
	Host string
	// Budget limits the answers of all peers together; with nil each is limited by itself.
	Budget *budget.Budget
}

// NewClient returns a client for an address as in [Config].
func NewClient(address string) *Client {
	dial := new(net.Dialer).DialContext
	c := &Client{BaseURL: strings.TrimSuffix(address, "/")}
	if path, is := strings.CutPrefix(address, "unix:"); is {
		c.BaseURL = "http://caddy"
		c.Host = "/" // not a valid host, so none is sent: over a socket Caddy 2.6 accepts only that
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	c.HTTPClient = &http.Client{
		// One connection per call: Caddy restarts its admin API with each change, and closes idle connections.
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Error is an answer with a failure status.
type Error struct {
	Op      string
	Status  int
	Message string
}

// Error names the call, the status and Caddy's message.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.Op, e.Status, http.StatusText(e.Status), e.Brief())
}

// Brief returns Caddy's message, or its end: Caddy names each level of the configuration first, and the cause last.
func (e *Error) Brief() string {
	const most = 300
	from := len(e.Message) - most
	if from <= 0 {
		return e.Message
	}
	if i := strings.Index(e.Message[from:], ": "); i >= 0 {
		from += i + len(": ")
	}
	return "… " + strings.ToValidUTF8(e.Message[from:], "")
}

// Outdated reports whether the configuration has changed since it was read.
func (e *Error) Outdated() bool { return e.Status == http.StatusPreconditionFailed }

// Absent reports whether the object to change does not exist.
func (e *Error) Absent() bool { return e.Status == http.StatusNotFound }

// Forbidden reports whether Caddy rejects this host or origin.
func (e *Error) Forbidden() bool { return e.Status == http.StatusForbidden }

// Refused reports whether Caddy rejected the configuration. It continues with the old one.
func (e *Error) Refused() bool {
	return e.Status == http.StatusInternalServerError || e.Status == http.StatusBadRequest
}

// Config returns the whole configuration, and the If-Match value for changing exactly that.
func (c *Client) Config(ctx context.Context) (config []byte, etag string, err error) {
	return c.do(ctx, reading, http.MethodGet, "/config/", nil, "")
}

// Change changes the object at a path below /config or /id, if the configuration still matches the etag.
func (c *Client) Change(ctx context.Context, method, path string, body []byte, etag string) error {
	_, _, err := c.do(ctx, "change the configuration", method, path, body, etag)
	return err
}

func (c *Client) do(ctx context.Context, op, method, path string, body []byte, etag string) ([]byte, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	if c.Host != "" {
		req.Host = c.Host
	} else {
		req.Header.Set("Origin", c.BaseURL)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if etag != "" {
		req.Header.Set("If-Match", etag)
	}
	resp, err := c.HTTPClient.Do(req) //nolint:bodyclose // the counted body closes it
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, bare(err))
	}
	most := int64(mostResult)
	if method == http.MethodGet && resp.StatusCode == http.StatusOK {
		most = mostConfig
	}
	counted := c.Budget.Body(resp.Body, resp.ContentLength, most, "Caddy's admin API")
	defer counted.Close()
	answer, err := io.ReadAll(counted)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", op, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", &Error{Op: op, Status: resp.StatusCode, Message: message(answer)}
	}
	// A header in 2.11; a trailer in 2.6, which computes it while writing.
	tag := resp.Header.Get("Etag")
	if tag == "" {
		tag = resp.Trailer.Get("Etag")
	}
	return answer, tag, nil
}

// bare removes the URL from an error; the caller adds its own.
func bare(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// message extracts the text of a failure.
func message(answer []byte) string {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Error == "" {
		said.Error = string(answer)
	}
	const most = 8 << 10
	return safetext.Cut(safetext.Words(said.Error), most)
}
