package consul

import (
	"regexp"
	"strings"

	"swallowkeeper/internal/setting"
)

const addressAllowed = `"host:port", "http://host:port", "https://host:port" or "unix:///path"`

// Lengths are looked at beside the forms: a count within makes the machine of one hundreds of kilobytes.
var (
	addressForm = regexp.MustCompile(`^[A-Za-z0-9_.\[\]:%-]+$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9@_./\[\]:-]+$`)
	notInName   = regexp.MustCompile(`[^A-Za-z0-9@_./\[\]:-]+`)
)

// address is the parts of one as it is configured.
type address struct{ scheme, host, prefix, socket string }

// splitAddress takes a host with or without a port, a URL of one, or a socket. What would
// carry a password, and so leak it into the registry's name, is not taken.
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
			shown = "…" + shown[i:] // what stands before may be a password
		}
		return address{}, &setting.Error{Key: "address", Value: shown, Allowed: addressAllowed}
	}
	return a, nil
}

// validName holds for what can stand in a comment of the conf file, where commas part
// one name from the next.
func validName(s string) bool { return len(s) <= 200 && nameForm.MatchString(s) }

// defaultName tells registries apart by what they read.
func defaultName(e endpoint, cfg Config) string {
	name := "consul@" + e.base.Address + e.base.PathPrefix
	if e.socket != "" {
		name = "consul@" + e.socket
	}
	for _, part := range []struct{ mark, value string }{
		{"/", cfg.Datacenter}, {"/ns:", cfg.Namespace}, {"/partition:", cfg.Partition},
	} {
		if part.value != "" {
			name += part.mark + part.value
		}
	}
	name = strings.Trim(notInName.ReplaceAllString(name, "_"), "/")
	return name[:min(len(name), 200)]
}
