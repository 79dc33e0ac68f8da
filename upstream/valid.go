package upstream

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits for what a registry or a configuration may contain.
const (
	// MaxName is the longest name of an upstream, in bytes.
	MaxName = 255
	// MaxWeight is the highest weight of a server.
	MaxWeight = 65535
	// MaxCount is the highest max_fails, max_conns and keepalive.
	MaxCount = 1_000_000
	// MaxFailTimeout is the longest fail_timeout.
	MaxFailTimeout = 24 * time.Hour
)

var (
	name    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	methods = []string{"", "least_conn", "ip_hash", "random"}
)

// ValidName returns why s can't be the name of an upstream, or nil. Letters, digits and `_.-` mean the same in an
// nginx file, a URL path and a log line.
func ValidName(s string) error {
	switch {
	case s == "":
		return noName.Err()
	case len(s) > MaxName:
		return longName.Err(len(s), MaxName)
	case !name.MatchString(s):
		return oddName.Err()
	}
	if _, err := netip.ParseAddr(s); err == nil {
		// proxy_pass to that address would reach the upstream instead.
		return addressName.Err()
	}
	return nil
}

// ValidMethod returns why s is no allowed balancing method, or nil. Methods with a variable (hash $uri) are not
// allowed: if nginx.conf itself does not use the variable, the dyups worker refuses every later change.
func ValidMethod(s string) error {
	if !slices.Contains(methods, s) {
		return noMethod.Err(strconv.Quote(s))
	}
	return nil
}

// Valid returns what is wrong with the options, or nil.
func (o Options) Valid() error {
	if o.Keepalive < 0 || o.Keepalive > MaxCount {
		return outOfRange.Err("keepalive", o.Keepalive, 0, MaxCount)
	}
	return ValidMethod(o.Method)
}

// Methods returns the methods that [ValidMethod] accepts.
func Methods() []string { return slices.Clone(methods) }

// TakesBackup reports whether nginx allows backup servers with the method.
func TakesBackup(method string) bool { return method == "" || method == "least_conn" }

// ParseAddr returns the address of a server from its registered host and port. The host is an IPv4 or IPv6 address,
// with or without brackets. Host names, zones and addresses that no server can have are errors.
func ParseAddr(host string, port int) (netip.AddrPort, error) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, noIP.Err(fmt.Sprintf("%.60q", host))
	}
	return AddrFrom(ip, port)
}

// AddrFrom is [ParseAddr] for a parsed address.
func AddrFrom(ip netip.Addr, port int) (netip.AddrPort, error) {
	if ip.Zone() != "" {
		return netip.AddrPort{}, zoned.Err()
	}
	ip = ip.Unmap()
	switch {
	case ip.IsUnspecified():
		return netip.AddrPort{}, unspecified.Err(ip)
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.AddrPort{}, noMachine.Err(ip)
	case port < 1 || port > 65535:
		return netip.AddrPort{}, badPort.Err(port)
	}
	return netip.AddrPortFrom(ip, uint16(port)), nil
}

// Valid returns what is wrong with the server, or nil.
func (s Server) Valid() error {
	switch {
	case !s.Addr.IsValid() || s.Addr.Port() == 0:
		return noAddress.Err()
	case s.Weight < 1 || s.Weight > MaxWeight:
		return outOfRange.Err("weight", s.Weight, 1, MaxWeight)
	case s.MaxFails < 0 || s.MaxFails > MaxCount:
		return outOfRange.Err("max_fails", s.MaxFails, 0, MaxCount)
	case s.MaxConns < 0 || s.MaxConns > MaxCount:
		return outOfRange.Err("max_conns", s.MaxConns, 0, MaxCount)
	case s.Host != "" && (s.Origin == "" || !IsHostPort(s.Host)):
		return badHost.Err(strconv.Quote(s.Host))
	}
	addr, err := AddrFrom(s.Addr.Addr(), int(s.Addr.Port()))
	if err != nil {
		return err
	}
	if addr != s.Addr {
		return spelling.Err(addr)
	}
	return ValidFailTimeout(s.FailTimeout)
}

// IsHostPort reports whether s is a host and a port, as in a [Server.Host].
func IsHostPort(s string) bool {
	i := strings.LastIndexByte(s, ':')
	if i < 1 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	return err == nil && port > 0
}

// Valid returns what nginx would refuse in the upstream, whatever the combination of its servers, or nil.
func (u Upstream) Valid() error {
	if err := ValidName(u.Name); err != nil {
		return err
	}
	if err := u.Options.Valid(); err != nil {
		return err
	}
	for _, s := range u.Servers {
		if err := s.Valid(); err != nil {
			return badServer.Err(s.Addr, err)
		}
	}
	for i, r := range u.Routes {
		if err := r.Valid(u.Name); err != nil {
			return badRoute.Err(r.Where(), err)
		}
		if slices.ContainsFunc(u.Routes[:i], r.Contends) {
			return sameRoute.Err(r.Where())
		}
	}
	return nil
}

// ValidFailTimeout returns what is wrong with a fail_timeout, or nil.
func ValidFailTimeout(d time.Duration) error {
	if d < 0 || d > MaxFailTimeout || d%time.Second != 0 {
		return badTimeout.Err(d, MaxFailTimeout)
	}
	return nil
}
