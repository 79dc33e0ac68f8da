package tracing

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/setting"
)

// Config is the [tracing] table: where traces go.
type Config struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP. Without a path it is
	// /v1/traces there. "" sends none, unless the standard OTEL_EXPORTER_OTLP_ENDPOINT or
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.
	Endpoint string `toml:"endpoint"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config { return Config{} }

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (c Config) Validate() error {
	if c.Endpoint == "" || valid(c.Endpoint) {
		return nil
	}
	return &setting.Error{
		Key: "endpoint", Value: c.Endpoint,
		Allowed: `http://host:port or https://host:port, with or without a path, e.g. "http://127.0.0.1:4318", or "" for none`,
	}
}

func valid(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil &&
		u.RawQuery == "" && u.Fragment == ""
}

// url is the endpoint; a lone slash is no path.
func (c Config) url() string {
	if u, err := url.Parse(c.Endpoint); err == nil && u.Path == "/" {
		return strings.TrimSuffix(c.Endpoint, "/")
	}
	return c.Endpoint
}

// endpoints are the standard variables that name a collector.
func endpoints() []string {
	return []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
}

// environment says what is wrong with the variables' endpoints, or nil. The SDK would go to
// a collector on this machine instead.
func environment() error {
	for _, name := range endpoints() {
		if v := os.Getenv(name); v != "" && !valid(v) {
			return fmt.Errorf("%s is not http://host:port or https://host:port", name)
		}
	}
	return nil
}

// on tells whether there is anybody to send traces to.
func (c Config) on() bool {
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return false
	}
	return c.Endpoint != "" || slices.ContainsFunc(endpoints(), func(name string) bool { return os.Getenv(name) != "" })
}
