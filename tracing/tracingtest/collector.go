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

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
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
	refusing bool
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

// Refuse has it answer with 503, or take traces again.
func (c *Collector) Refuse(refusing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusing = refusing
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
	var request collector.ExportTraceServiceRequest
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
	if c.refusing {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	c.take(&request)
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty body is an empty answer
}

// take keeps the spans of a request. Locked.
func (c *Collector) take(request *collector.ExportTraceServiceRequest) {
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
