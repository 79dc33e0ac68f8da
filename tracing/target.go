package tracing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// sendTimeout limits a request to the collector, unless OTEL_EXPORTER_OTLP_TIMEOUT is set.
const sendTimeout = 5 * time.Second

// tracesPath is the path for traces, by the specification.
const tracesPath = "/v1/traces"

// target is a collector and how to connect to it.
type target struct {
	url     string
	headers http.Header
	gzip    bool
	timeout time.Duration
	tls     *tls.Config // nil: the default
}

// newTarget returns the configured target, or else that of the environment. The other OTEL_EXPORTER_OTLP_… variables
// apply to both. A variable with TRACES_ before its last word overrides the one without:
// https://opentelemetry.io/docs/specs/otel/protocol/exporter.
func newTarget(c Config) (target, error) {
	t := target{url: c.url(), headers: http.Header{}, timeout: sendTimeout}
	var errs []error
	if t.url == "" {
		errs = append(errs, t.fromEnvironment())
	}
	errs = append(errs, t.setHeaders(), t.setCompression(), t.setTimeout(), t.setTLS(), checkSDK())
	return t, errors.Join(errs...)
}

// checkSDK validates the variables that the SDK reads itself. For a bad one it would print to standard error, and
// continue with a default.
func checkSDK() error {
	switch sampler := os.Getenv("OTEL_TRACES_SAMPLER"); sampler {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		const name = "OTEL_TRACES_SAMPLER_ARG"
		value := os.Getenv(name)
		if share, err := strconv.ParseFloat(value, 64); value != "" && (err != nil || !(share >= 0 && share <= 1)) {
			return fmt.Errorf("%s is %q: allowed is a number from 0 to 1", name, value)
		}
	default:
		return fmt.Errorf("OTEL_TRACES_SAMPLER is %q: allowed is always_on, always_off or traceidratio, "+
			"or one of them behind parentbased_", sampler)
	}
	const name = "OTEL_RESOURCE_ATTRIBUTES"
	for pair := range strings.SplitSeq(os.Getenv(name), ",") {
		_, value, found := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(strings.TrimSpace(value)); strings.TrimSpace(pair) != "" && (!found || err != nil) {
			return fmt.Errorf("%s is not key=value,key=value", name)
		}
	}
	return nil
}

// variable returns the value of OTEL_EXPORTER_OTLP_TRACES_word, or else of the variable without TRACES_, and its name.
func variable(word string) (name, value string) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + word, "OTEL_EXPORTER_OTLP_" + word} {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			return name, value
		}
	}
	return "", ""
}

func (t *target) fromEnvironment() error {
	name, value := variable("ENDPOINT")
	if !valid(value) {
		return fmt.Errorf("%s is not http://host:port or https://host:port", name)
	}
	u, err := url.Parse(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" { // the base of the paths of all signals
		u = u.JoinPath(tracesPath)
	}
	t.url = u.String()
	if name, value := variable("PROTOCOL"); value != "" && value != "http/protobuf" {
		return fmt.Errorf("%s is %q: only http/protobuf is spoken here, as a rule at port 4318", name, value)
	}
	return nil
}

// setHeaders parses key=value,key=value with URL-encoded values. Its errors contain no values, as those may be secrets.
func (t *target) setHeaders() error {
	name, list := variable("HEADERS")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !found || err != nil ||
			!httpguts.ValidHeaderFieldName(key) || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("%s is not key=value,key=value", name)
		}
		t.headers.Set(key, value)
	}
	return nil
}

func (t *target) setCompression() error {
	name, value := variable("COMPRESSION")
	if value != "" && value != "none" && value != "gzip" {
		return fmt.Errorf("%s is %q: allowed is gzip or none", name, value)
	}
	t.gzip = value == "gzip"
	return nil
}

func (t *target) setTimeout() error {
	name, value := variable("TIMEOUT")
	if value == "" {
		return nil
	}
	ms, err := strconv.Atoi(value)
	if err != nil || ms <= 0 {
		return fmt.Errorf("%s is %q: allowed is a number of milliseconds", name, value)
	}
	t.timeout = time.Duration(ms) * time.Millisecond
	return nil
}

func (t *target) setTLS() error {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := variable("CERTIFICATE"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s: %s has no certificate in PEM", name, file)
		}
		t.tls = c
	}
	if name, file := variable("CLIENT_CERTIFICATE"); file != "" {
		_, key := variable("CLIENT_KEY")
		pair, err := tls.LoadX509KeyPair(file, key)
		if err != nil {
			return fmt.Errorf("%s and the one of its key: %w", name, err)
		}
		c.Certificates = []tls.Certificate{pair}
		t.tls = c
	}
	return nil
}
