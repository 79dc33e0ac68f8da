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
	// patience is how long one batch is tried again. What can't be sent by then is of little use later.
	patience = 2 * sendTimeout
	// mostAnswer is what is read of an answer.
	mostAnswer = 64 << 10
)

// client is an otlptrace.Client that sends OTLP over HTTP. The SDK's own, otlptracehttp, would do, but
// it links all of gRPC: 2.3 MB in the memory of everybody who sends no traces.
type client struct {
	target target
	http   *http.Client
}

func newClient(t target) *client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: t.tls,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
	}
	// A collector that moved is told of: the headers, which may have a secret, are for the one that is named.
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

// UploadTraces implements otlptrace.Client. It tries again where the specification says so.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire this is a collector's ExportTraceServiceRequest, whose package has gRPC's part too.
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
		return last // why it did not go before the end came
	}
	return err
}

// send sends once. What need not be tried again is a permanent error.
func (c *client) send(ctx context.Context, body []byte, waits *asked) error {
	waits.least = 0 // what an earlier answer asked for is over
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
		return nil // it has them, and what it says of them is lost
	}
	err = fmt.Errorf("%s answers %s: %s", c.target.url, response.Status, cmp.Or(strings.TrimSpace(string(answer)), "nothing more"))
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		waits.least = retryAfter(response.Header.Get("Retry-After"), time.Now())
		return err
	}
	return backoff.Permanent(err)
}

// retryAfter is how long a collector asks to be left alone: seconds, or until a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(seconds, int(patience/time.Second)+1)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}

// asked waits at least as long as the collector asked for.
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

// rejected is the error of an ExportTraceServiceResponse that says that some spans were not taken:
//
//	1: ExportTracePartialSuccess { 1: rejected_spans int64, 2: error_message string }
//
// An answer that is none says nothing.
func rejected(answer []byte) error {
	part := fields(answer)[1].text
	said := fields(part)
	if n := said[1].number; n != 0 {
		return fmt.Errorf("the collector left out %d spans: %s", n, cmp.Or(string(said[2].text), "it does not say why"))
	}
	return nil
}

// field is one of a message in protobuf's wire format.
type field struct {
	number uint64
	text   []byte
}

// fields are those of a message by their numbers; of what can't be read there are none.
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
	_, _ = z.Write(body) // a buffer takes everything
	_ = z.Close()
	return out.Bytes()
}
