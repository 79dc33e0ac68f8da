// Package tracingtest is a collector of traces for tests: it takes OTLP over HTTP.
package tracingtest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Span is one that has arrived.
type Span struct {
	Trace, ID, Parent string // in hex; Parent is "" for the whole
	Name              string
	From, To          time.Time
	Values            map[string]any // string, int64 or []any
	Failed            bool
	Status            string // why it failed
}

// Collector keeps what it is sent.
type Collector struct {
	URL string

	server *httptest.Server

	mu       sync.Mutex
	spans    []Span
	resource map[string]any
	requests int
	headers  http.Header
	refusal  *Refusal
	answer   []byte
}

// Refusal is an answer to a request that is not taken.
type Refusal struct {
	Code       int
	RetryAfter string // "": the collector does not say
	Location   string // for a redirect
}

// New starts a collector.
func New() *Collector {
	c := &Collector{resource: map[string]any{}}
	c.server = httptest.NewServer(c)
	c.URL = c.server.URL
	return c
}

// Close ends it.
func (c *Collector) Close() { c.server.Close() }

// Refuse has it take nothing; with nil it takes traces again.
func (c *Collector) Refuse(how *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = how
}

// LeaveOut has it say that it takes only a part of what it is sent.
func (c *Collector) LeaveOut(spans uint64, why string) {
	part := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), spans)
	part = protowire.AppendString(protowire.AppendTag(part, 2, protowire.BytesType), why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), part)
}

// Headers are those of the last request.
func (c *Collector) Headers() http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers
}

// Requests counts those to the path of traces, refused ones included.
func (c *Collector) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Spans are those that have arrived, in order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Resource is what the sender said of itself.
func (c *Collector) Resource() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resource
}

// ServeHTTP implements http.Handler.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/traces" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not OTLP's traces", http.StatusNotFound)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	data, err := io.ReadAll(io.LimitReader(body, 16<<20))
	var request trace.TracesData // as an ExportTraceServiceRequest is on the wire
	if err == nil {
		err = proto.Unmarshal(data, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	c.headers = r.Header
	if c.refusal != nil {
		if c.refusal.Location != "" {
			w.Header().Set("Location", c.refusal.Location)
		}
		if c.refusal.RetryAfter != "" {
			w.Header().Set("Retry-After", c.refusal.RetryAfter)
		}
		http.Error(w, "not now", c.refusal.Code)
		return
	}
	c.take(&request)
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty body is an empty answer
	_, _ = w.Write(c.answer)
}

// take keeps the spans of a request. Locked.
func (c *Collector) take(request *trace.TracesData) {
	for _, from := range request.GetResourceSpans() {
		for k, v := range values(from.GetResource().GetAttributes()) {
			c.resource[k] = v
		}
		for _, scope := range from.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				span := Span{
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					Parent: hex.EncodeToString(s.GetParentSpanId()), Name: s.GetName(),
					From: at(s.GetStartTimeUnixNano()), To: at(s.GetEndTimeUnixNano()),
					Values: values(s.GetAttributes()), Failed: s.GetStatus().GetCode() == 2,
					Status: s.GetStatus().GetMessage(),
				}
				c.spans = append(c.spans, span)
			}
		}
	}
}

func at(nano uint64) time.Time { return time.Unix(0, int64(nano)) } //nolint:gosec // a time of these years

func values(list []*common.KeyValue) map[string]any {
	all := make(map[string]any, len(list))
	for _, kv := range list {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			all[kv.GetKey()] = v.IntValue
		case *common.AnyValue_ArrayValue:
			var list []any
			for _, one := range v.ArrayValue.GetValues() {
				list = append(list, one.GetStringValue())
			}
			all[kv.GetKey()] = list
		}
	}
	return all
}
