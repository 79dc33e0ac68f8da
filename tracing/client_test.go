package tracing_test

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/tracing"
	"swallowkeeper/tracing/tracingtest"
)

// logging is a tracer for the collector, and its log; that may be read once the tracer is closed.
func logging(t *testing.T, c *tracingtest.Collector) (*tracing.Tracer, *bytes.Buffer) {
	t.Helper()
	var text bytes.Buffer
	log := logrus.New()
	log.SetOutput(&text)
	tr, err := tracing.New(tracing.Config{Endpoint: c.URL}, "v1", nil, log)
	if err != nil {
		t.Fatal(err)
	}
	return tr, &text
}

// arrives waits for a number of requests.
func arrives(t *testing.T, c *tracingtest.Collector, requests int) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); c.Requests() < requests; <-time.After(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%d requests of %d", c.Requests(), requests)
		}
	}
}

func TestWhatACollectorAnswers(t *testing.T) {
	for _, tt := range []struct {
		name     string
		refusal  tracingtest.Refusal
		requests int // that come for the first batch, before it takes any
		says     string
	}{
		{"it is busy", tracingtest.Refusal{Code: http.StatusServiceUnavailable}, 2, ""},
		{"it is busy and says for how long", tracingtest.Refusal{Code: http.StatusTooManyRequests, RetryAfter: "1"}, 2, ""},
		{"it asks for more than we have", tracingtest.Refusal{Code: http.StatusServiceUnavailable, RetryAfter: "3600"}, 1, "503"},
		{"it asks for a date", tracingtest.Refusal{
			Code: http.StatusServiceUnavailable, RetryAfter: time.Now().Add(time.Hour).UTC().Format(http.TimeFormat),
		}, 1, "503"},
		{"it asks for ages", tracingtest.Refusal{Code: http.StatusServiceUnavailable, RetryAfter: "9999999999"}, 1, "503"},
		{"it has moved", tracingtest.Refusal{Code: http.StatusTemporaryRedirect, Location: "http://127.0.0.1:1/"}, 1, "307"},
		{"it takes nothing of the kind", tracingtest.Refusal{Code: http.StatusBadRequest}, 1, "400 Bad Request: not now"},
		{"it lets nobody in", tracingtest.Refusal{Code: http.StatusUnauthorized}, 1, "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := collector(t)
			c.Refuse(&tt.refusal)
			tr, log := logging(t, c)
			tr.Observe(generation(1, "one"))
			arrives(t, c, tt.requests)
			c.Refuse(nil)
			again := tt.requests > 1
			if again {
				arrives(t, c, tt.requests+1)
			}
			tr.Close()
			if n := len(c.Spans()); (n == 3) != again {
				t.Errorf("%d spans have arrived", n)
			}
			if said := strings.Contains(log.String(), "traces can't be sent"); said == again || !strings.Contains(log.String(), tt.says) {
				t.Errorf("the log: %s", log.String())
			}
		})
	}
}

// What is cut by the end of the daemon is told with the collector's own words.
func TestTheEndCutsATry(t *testing.T) {
	t.Parallel()
	c := collector(t)
	c.Refuse(&tracingtest.Refusal{Code: http.StatusServiceUnavailable, RetryAfter: "9"})
	tr, log := logging(t, c)
	tr.Observe(generation(1, "one"))
	arrives(t, c, 1)
	tr.Close()
	if !strings.Contains(log.String(), "503") || !strings.Contains(log.String(), "not now") {
		t.Errorf("the log: %s", log.String())
	}
}

func TestAPartThatIsLeftOutIsTold(t *testing.T) {
	t.Parallel()
	c := collector(t)
	c.LeaveOut(2, "too many\nattributes")
	tr, log := logging(t, c)
	tr.Observe(generation(1, "one"))
	tr.Close()
	if !strings.Contains(log.String(), "left out 2 spans: too many") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log: %s", log.String())
	}
	if c.Requests() != 1 {
		t.Errorf("it was sent %d times", c.Requests())
	}
}

func TestTheVariablesOfTheSpecification(t *testing.T) {
	send := func(t *testing.T) {
		t.Helper()
		tr := tracer(t, "")
		tr.Observe(generation(1, "one"))
		tr.Close()
	}
	t.Run("below a path", func(t *testing.T) {
		c := collector(t)
		deeper := httptest.NewServer(http.StripPrefix("/otel", c))
		defer deeper.Close()
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", deeper.URL+"/otel/")
		send(t)
		if len(c.Spans()) != 3 {
			t.Errorf("%d spans", len(c.Spans()))
		}
	})
	t.Run("below a path with a slash in a name", func(t *testing.T) {
		c := collector(t)
		deeper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.EscapedPath() == "/a%2Fb/v1/traces" {
				r.URL.Path = "/v1/traces"
				c.ServeHTTP(w, r)
			}
		}))
		defer deeper.Close()
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", deeper.URL+"/a%2Fb")
		send(t)
		if len(c.Spans()) != 3 {
			t.Errorf("%d spans", len(c.Spans()))
		}
	})
	t.Run("that of traces first, as it is", func(t *testing.T) {
		c, other := collector(t), collector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", other.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.URL+"/v1/traces")
		send(t)
		if len(c.Spans()) != 3 || other.Requests() != 0 {
			t.Errorf("%d spans, and %d requests to the other", len(c.Spans()), other.Requests())
		}
	})
	t.Run("headers and compression", func(t *testing.T) {
		c := collector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20a=b, x-tenant = one,")
		t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
		send(t)
		h := c.Headers()
		if len(c.Spans()) != 3 || h.Get("Authorization") != "Bearer a=b" || h.Get("X-Tenant") != "one" || h.Get("Content-Encoding") != "gzip" {
			t.Errorf("%d spans with %v", len(c.Spans()), h)
		}
	})
	t.Run("certificates", func(t *testing.T) {
		c := collector(t)
		server := httptest.NewTLSServer(c)
		defer server.Close()
		file := filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		if err := os.WriteFile(file, block, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
		send(t)
		if n := c.Requests(); n != 0 {
			t.Fatalf("%d requests over a connection that nobody vouches for", n)
		}
		t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", file)
		send(t)
		if len(c.Spans()) != 3 {
			t.Errorf("%d spans", len(c.Spans()))
		}
	})
	t.Run("an endpoint of the configuration", func(t *testing.T) {
		c := collector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") // for another collector
		tr := tracer(t, c.URL)
		tr.Observe(generation(1, "one"))
		tr.Close()
		if len(c.Spans()) != 3 {
			t.Errorf("%d spans", len(c.Spans()))
		}
	})
	t.Run("no sample of anything", func(t *testing.T) {
		c := collector(t)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
		t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0")
		send(t)
		if len(c.Spans()) != 0 {
			t.Errorf("%d spans", len(c.Spans()))
		}
	})
}

// Each wrong value is told by the variable's name, and no header by its value.
func TestWrongVariables(t *testing.T) {
	for _, wrong := range [][2]string{
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4318"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
		{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "hush"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%0Ahush"},
		{"OTEL_EXPORTER_OTLP_HEADERS", "my key=hush"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"},
		{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/nowhere/cert.pem"},
		{"OTEL_TRACES_SAMPLER", "nonsense"},
		{"OTEL_TRACES_SAMPLER_ARG", "banana"},
		{"OTEL_TRACES_SAMPLER_ARG", "NaN"},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%zz"},
	} {
		name, value := wrong[0], wrong[1]
		t.Run(name+"="+value, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
			t.Setenv(name, value)
			_, err := tracing.New(tracing.Config{}, "v1", nil, logrus.New())
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hush") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
