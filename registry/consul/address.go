package consul

import (
	"regexp"
	"strings"
)

const addressAllowed = `"host:port", "http://host:port", "https://host:port" or "unix:///path"`

var (
	addressForm = regexp.MustCompile(`^[A-Za-z0-9_.\[\]:%-]+$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9@_./\[\]:-]{1,200}$`)
	notInName   = regexp.MustCompile(`[^A-Za-z0-9@_./\[\]:-]+`)
)

// validAddress takes a host with or without a port. What would carry a password, and so
// leak it into the registry's name, is not taken.
func validAddress(hostPort string) bool { return addressForm.MatchString(hostPort) }

// validName holds for what can stand in a comment of the conf file, where commas part
// one name from the next.
func validName(s string) bool { return nameForm.MatchString(s) }

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
