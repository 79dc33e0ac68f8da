package tracing

import (
	"net/url"
	"os"
	"strconv"

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

// url is where to send to: a lone slash is no path. It is "" where the configuration names nobody.
func (c Config) url() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil || c.Endpoint == "" {
		return "" // Validate has refused what is no URL
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = tracesPath
	}
	return u.String()
}

// on tells whether there is anybody to send traces to.
func (c Config) on() bool {
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return false
	}
	_, endpoint := variable("ENDPOINT")
	return c.Endpoint != "" || endpoint != ""
}
