package consul

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/setting"
)

const (
	addressAllowed = `"host:port", "http://host:port", "https://host:port" or "unix:///path"`
	defaultAddress = "127.0.0.1:8500"
)

// Lengths are checked apart from the patterns: a repetition count makes a compiled pattern take hundreds of kilobytes.
var (
	addressForm = regexp.MustCompile(`^[A-Za-z0-9_.\[\]:%-]+$`)
	notInName   = regexp.MustCompile(`[^A-Za-z0-9@_./\[\]:-]+`)
)

// address is a configured address in its parts.
type address struct{ scheme, host, prefix, socket string }

// splitAddress parses a host with an optional port, a URL, or a socket. It refuses forms that may contain a password,
// as that would leak into the registry's name.
func splitAddress(s string) (address, error) {
	a := address{host: s}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		switch scheme {
		case "http", "https":
			a.scheme = scheme
			a.host, a.prefix, _ = strings.Cut(strings.TrimRight(rest, "/"), "/")
			if a.prefix != "" {
				a.prefix = "/" + a.prefix
			}
		case "unix":
			a = address{scheme: "http", host: "localhost", socket: rest}
		}
	}
	if !addressForm.MatchString(a.host) {
		shown := a.host
		if i := strings.LastIndexByte(shown, '@'); i >= 0 {
			shown = "…" + shown[i:] // the part before may be a password
		}
		return address{}, &setting.Error{Key: "address", Value: shown, Allowed: addressAllowed}
	}
	return a, nil
}

// Identity returns the agent's address, followed by datacenter, namespace and partition if set.
func (c Config) Identity(getenv func(string) string) string {
	given := cmp.Or(c.Address, getenv(api.HTTPAddrEnvName), defaultAddress)
	name := "consul@" + given
	if a, err := splitAddress(given); err == nil {
		name = "consul@" + cmp.Or(a.socket, a.host+a.prefix)
	}
	for _, part := range []struct{ mark, value string }{
		{"/", c.Datacenter}, {"/ns:", c.Namespace}, {"/partition:", c.Partition},
	} {
		if part.value != "" {
			name += part.mark + part.value
		}
	}
	name = strings.Trim(notInName.ReplaceAllString(name, "_"), "/")
	return name[:min(len(name), 200)]
}
