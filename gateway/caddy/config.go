package caddy

import (
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
)

// Config is one [[gateway]] table with type = "caddy".
type Config struct {
	// Address of Caddy's admin API.
	Address string `toml:"address"`
	// Server is the HTTP server that gets our place where Caddy's configuration has none yet.
	Server string `toml:"server"`
	// Listen is where that server listens if Caddy has no such server: then it is made. With "" it has to be there.
	Listen string `toml:"listen"`
	// Mode is how Caddy gets servers: "config" writes them into its configuration, with "dynamic" it asks us by DNS.
	Mode string `toml:"mode"`
	// Resolver is where we answer those questions.
	Resolver string `toml:"resolver"`
	// StreamCloseDelay is how long WebSockets stay after a change of the configuration.
	StreamCloseDelay time.Duration `toml:"stream_close_delay"`

	// Timeout of one call.
	Timeout time.Duration `toml:"-"`
}

// How Caddy gets the servers of upstreams.
const (
	byConfig = "config"
	byDNS    = "dynamic"
)

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		Address:          "http://127.0.0.1:2019",
		Server:           "srv0",
		Mode:             byConfig,
		Resolver:         "127.0.0.1:5380",
		StreamCloseDelay: 5 * time.Minute,
		Timeout:          10 * time.Second,
	}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (c Config) Validate() error {
	switch {
	case !validAddress(c.Address):
		return &setting.Error{Key: "address", Value: c.Address, Allowed: `an address such as "http://127.0.0.1:2019" or "unix:/run/caddy/admin.sock"`}
	case !validServer(c.Server):
		return &setting.Error{Key: "server", Value: c.Server, Allowed: `the name of a server in Caddy's configuration, such as "srv0"`}
	case c.Listen != "" && !validListen(c.Listen):
		return &setting.Error{Key: "listen", Value: c.Listen, Allowed: `an address such as ":80" or "127.0.0.1:8080", or "" for none`}
	case c.Mode != byConfig && c.Mode != byDNS:
		return &setting.Error{Key: "mode", Value: c.Mode, Allowed: `"config" or "dynamic"`}
	case !validResolver(c.Resolver):
		return &setting.Error{Key: "resolver", Value: c.Resolver, Allowed: `an IP address and a port, such as "127.0.0.1:5380"`}
	case c.StreamCloseDelay < 0 || c.StreamCloseDelay > 24*time.Hour:
		return &setting.Error{Key: "stream_close_delay", Value: c.StreamCloseDelay, Allowed: `a duration from "0s" to "24h"`}
	}
	return nil
}

// validAddress takes http://HOST:PORT, and unix: with an absolute path.
func validAddress(s string) bool {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	if path, is := strings.CutPrefix(s, "unix:"); is {
		return filepath.IsAbs(path)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	return u.Port() == "" || validPort(u.Port())
}

// validServer takes what can stand in a path of the admin API.
func validServer(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsAny(s, `/%?#\"{}`) && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func validListen(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !validPort(port) {
		return false
	}
	_, err = netip.ParseAddr(host)
	return host == "" || err == nil
}

func validResolver(s string) bool {
	a, err := netip.ParseAddrPort(s)
	return err == nil && a.Port() > 0 && !a.Addr().IsUnspecified() && a.Addr().Zone() == ""
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
