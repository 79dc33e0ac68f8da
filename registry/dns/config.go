package dns

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// Config is a [[registry]] table with type = "dns".
type Config struct {
	// Server is the name server, with a port unless that is 53; empty for those of /etc/resolv.conf.
	Server string `toml:"server"`
	// Interval is how often each name is queried.
	Interval time.Duration `toml:"interval"`
	// Timeout is how long an answer may take before the question is sent once more.
	Timeout time.Duration `toml:"timeout"`
	// NXDomain is how to treat a name that does not exist: "keep" or "gone".
	NXDomain string `toml:"nxdomain"`
	// Service are the names to query, by the names of their upstreams.
	Service map[string]*Service `toml:"service"`
}

// Service is a [registry.service.NAME] table.
type Service struct {
	// Query is the name to query. It is fully qualified: no search list applies.
	Query string `toml:"query"`
	// Record is the type of records: "A", "AAAA", "A+AAAA" or "SRV".
	Record string `toml:"record" default:"A"`
	// Port of all servers, unless SRV records have it.
	Port int `toml:"port"`
}

// Values of keys.
const (
	recordA    = "A"
	recordAAAA = "AAAA"
	recordBoth = "A+AAAA"
	recordSRV  = "SRV"

	nxKeep = "keep"
	nxGone = "gone"
)

// mostNames is the maximum number of names in a table, as each is queried every interval.
const mostNames = 200

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Interval: time.Second, Timeout: time.Second, NXDomain: nxKeep}
}

// Kind returns the type "dns".
func Kind() registry.Kind {
	return registry.Kind{
		Name: "dns",
		Config: func() registry.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: newMetrics,
		Example: `[[registry]]
type     = "dns"
server   = "127.0.0.11"    # Docker's, in a container
interval = "1s"

[registry.service.app]
query  = "tasks.app"       # each replica, not the virtual IP
record = "A"
port   = 8080
`,
	}
}

const cannotList = "DNS can't list: each name is written out, as [registry.service.NAME] with query, record and port"

// Lacks explains why there is no such key, or no such name of a service; "" if that is obvious.
func (c *Config) Lacks(key string) string {
	switch {
	case key == "include", key == "exclude", strings.ContainsAny(key, "*?["):
		return cannotList
	case key == "resync":
		return "interval is how often names are asked for"
	case key == "address", key == "servers":
		return `the name server is server = "10.0.0.2:53"`
	}
	return ""
}

const (
	allowedServer = `an IP address such as "10.0.0.2" or "10.0.0.2:8600", or "" for those of /etc/resolv.conf`
	allowedQuery  = `a whole name such as "tasks.app" or "_http._tcp.web.example.": letters, digits, - and _ between dots, no glob`
	allowedPort   = `a number from 1 to 65535, and none with record = "SRV"`
)

// Validate returns a *setting.Error for the first invalid key.
func (c *Config) Validate() error {
	switch {
	case c.Server != "" && c.endpoint() == "":
		return &setting.Error{Key: "server", Value: c.Server, Allowed: allowedServer}
	case c.Interval < 100*time.Millisecond || c.Interval > time.Hour:
		return &setting.Error{Key: "interval", Value: c.Interval, Allowed: `a duration from "100ms" to "1h"`}
	case c.Timeout < 100*time.Millisecond || c.Timeout > time.Minute:
		return &setting.Error{Key: "timeout", Value: c.Timeout, Allowed: `a duration from "100ms" to "1m"`}
	case c.NXDomain != nxKeep && c.NXDomain != nxGone:
		return &setting.Error{Key: "nxdomain", Value: c.NXDomain, Allowed: `"keep" or "gone"`}
	case len(c.Service) > mostNames:
		return &setting.Error{
			Key: "service", Allowed: fmt.Sprintf("up to %d in one table; another [[registry]] with a name takes more", mostNames),
			Why: fmt.Sprintf("%d names", len(c.Service)),
		}
	}
	return nil
}

// Validate returns a *setting.Error for the first invalid key.
func (s *Service) Validate() error {
	if err := validQuery(s.Query); err != "" {
		return &setting.Error{Key: "query", Value: s.Query, Allowed: allowedQuery, Why: err}
	}
	switch s.Record {
	case recordA, recordAAAA, recordBoth:
		if s.Port == 0 {
			return &setting.Error{Key: "port", Value: s.Port, Allowed: allowedPort, Why: fmt.Sprintf("record = %q says no port, and none is set", s.Record)}
		}
	case recordSRV:
		if s.Port != 0 {
			return &setting.Error{Key: "port", Value: s.Port, Allowed: allowedPort, Why: fmt.Sprintf("%d stands beside SRV records, which say the port", s.Port)}
		}
		return nil
	default:
		return &setting.Error{Key: "record", Value: s.Record, Allowed: `"A", "AAAA", "A+AAAA" or "SRV"`}
	}
	if s.Port < 1 || s.Port > 65535 {
		return &setting.Error{Key: "port", Value: s.Port, Allowed: allowedPort}
	}
	return nil
}

var label = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// validQuery returns what is wrong with a name, or "".
func validQuery(query string) string {
	name := strings.TrimSuffix(query, ".")
	_, err := netip.ParseAddr(name)
	switch {
	case name == "":
		return "no name to ask for"
	case strings.ContainsAny(name, "*?["):
		return fmt.Sprintf("%.80q is a glob, and DNS can't list", query)
	case err == nil:
		return fmt.Sprintf("%.80q is an address, and no name", query)
	case len(name) > 253:
		return fmt.Sprintf("a name of %d bytes, at most 253 are allowed", len(name))
	}
	for part := range strings.SplitSeq(name, ".") {
		if !label.MatchString(part) {
			return fmt.Sprintf("%.80q is no name", query)
		}
	}
	return ""
}

// endpoint returns the server's address and port, "" if invalid.
func (c *Config) endpoint() string {
	if ip, err := netip.ParseAddr(strings.Trim(c.Server, "[]")); err == nil {
		return netip.AddrPortFrom(ip, 53).String()
	}
	if at, err := netip.ParseAddrPort(c.Server); err == nil && at.Port() > 0 {
		return at.String()
	}
	return ""
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9.:\[\]-]+`)

// Identity returns the server.
func (c *Config) Identity(func(string) string) string {
	if c.Server == "" {
		return "dns"
	}
	return "dns@" + notInName.ReplaceAllString(c.endpoint(), "_")
}

// Silence returns how long a change may go unnoticed.
func (c *Config) Silence() time.Duration { return c.Interval + tries*c.Timeout }
