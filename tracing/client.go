package tracing

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	// patience limits the retries of one batch. Later the traces are of little use.
	patience = 2 * sendTimeout
	// mostAnswer limits how much of an answer is read.
	mostAnswer = 64 << 10
)

// client is an otlptrace.Client that sends OTLP over HTTP. The SDK's otlptracehttp would work too, but it links all of
// gRPC, which costs memory even without traces.
type client struct {
	target target
	http   *http.Client
}

func newClient(t target) *client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: t.tls,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
	}
	// Redirects are not followed, but reported: the headers may contain a secret that is only meant for the configured
	// collector.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{target: t, http: &http.Client{Transport: transport, Timeout: t.timeout, CheckRedirect: stay}}
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. It retries as the specification says.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire this equals an ExportTraceServiceRequest, whose package would bring in gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.target.gzip {
		body = zipped(body)
	}
	waits := &asked{BackOff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(time.Second), backoff.WithMaxInterval(sendTimeout), backoff.WithMaxElapsedTime(patience))}
	var last error
	err = backoff.Retry(func() error {
		if failed := c.send(ctx, body, waits); ctx.Err() == nil || last == nil {
			last = failed
		}
		return last
	}, backoff.WithContext(waits, ctx))
	if err != nil && ctx.Err() != nil {
		return last // why it failed before the context ended
	}
	return err
}

// send makes one attempt. It returns a permanent error if retrying is pointless.
func (c *client) send(ctx context.Context, body []byte, waits *asked) error {
	waits.least = 0 // an earlier Retry-After no longer applies
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.url, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	for key, values := range c.target.headers {
		request.Header[key] = values
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.target.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer))
	switch {
	case response.StatusCode/100 == 2 && err == nil:
		if err := rejected(answer); err != nil {
			return backoff.Permanent(err)
		}
		return nil
	case response.StatusCode/100 == 2:
		return nil // accepted; only its answer is lost
	}
	err = fmt.Errorf("%s answers %s: %s", c.target.url, response.Status, cmp.Or(strings.TrimSpace(string(answer)), "nothing more"))
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		waits.least = retryAfter(response.Header.Get("Retry-After"), time.Now())
		return err
	}
	return backoff.Permanent(err)
}

// retryAfter parses a Retry-After header: seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(seconds, int(patience/time.Second)+1)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}

// asked waits at least as long as the collector requested.
type asked struct {
	backoff.BackOff
	least time.Duration
}

// NextBackOff implements backoff.BackOff.
func (a *asked) NextBackOff() time.Duration {
	next := a.BackOff.NextBackOff()
	if next == backoff.Stop || a.least > patience {
		return backoff.Stop
	}
	return max(next, a.least)
}

// rejected returns an error if an ExportTraceServiceResponse reports that some spans were rejected:
//
//	1: ExportTracePartialSuccess { 1: rejected_spans int64, 2: error_message string }
//
// An invalid answer counts as no rejection.
func rejected(answer []byte) error {
	part := fields(answer)[1].text
	said := fields(part)
	if n := said[1].number; n != 0 {
		return fmt.Errorf("the collector left out %d spans: %s", n, cmp.Or(string(said[2].text), "it does not say why"))
	}
	return nil
}

// field is a field of a message in protobuf's wire format.
type field struct {
	number uint64
	text   []byte
}

// fields returns the fields of a message by number, or none if it can't be parsed.
func fields(message []byte) map[protowire.Number]field {
	all := map[protowire.Number]field{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		var f field
		switch kind {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			f.text, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return nil
		}
		all[number], message = f, message[n:]
	}
	return all
}

func zipped(body []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(body) // a buffer accepts everything
	_ = z.Close()
	return out.Bytes()
}
