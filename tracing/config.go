package tracing

import (
	"net/url"
	"os"
	"strconv"

	"swallowkeeper/internal/setting"
)

// Config is the [tracing] table: where to send traces.
type Config struct {
	// Endpoint is the URL of a collector with OTLP over HTTP. If it has no path, /v1/traces is used. "" disables
	// traces, unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set.
	Endpoint string `toml:"endpoint"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{} }

// Validate returns a *setting.Error for the first invalid key.
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

// url returns the URL to send to, or "" if none is configured. A lone slash counts as no path.
func (c Config) url() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil || c.Endpoint == "" {
		return "" // Validate has refused invalid URLs
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = tracesPath
	}
	return u.String()
}

// on reports whether traces are sent.
func (c Config) on() bool {
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return false
	}
	_, endpoint := variable("ENDPOINT")
	return c.Endpoint != "" || endpoint != ""
}
