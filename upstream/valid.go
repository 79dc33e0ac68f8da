package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// Limits of what is taken from a registry or a configuration.
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

// ValidName says what is wrong with the name of an upstream, or nil. Letters, digits
// and `_.-` mean the same in an nginx file, a URL path and a log line.
func ValidName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case len(s) > MaxName:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(s), MaxName)
	case !name.MatchString(s):
		return errors.New("the name has characters other than letters, digits, _ . - or begins with . or -")
	}
	if _, err := netip.ParseAddr(s); err == nil {
		// proxy_pass to that address would reach the upstream instead.
		return errors.New("the name is an IP address")
	}
	return nil
}

// ValidMethod says what is wrong with a balancing method, or nil. Methods over a
// variable (hash $uri) are not taken: a variable that nginx.conf itself does not use
// leaves a dyups worker refusing every later change.
func ValidMethod(s string) error {
	if !slices.Contains(methods, s) {
		return fmt.Errorf(`unknown balancing method %q: allowed are "" (weighted round robin), least_conn, ip_hash and random`, s)
	}
	return nil
}

// TakesBackup reports whether nginx allows backup servers beside the method.
func TakesBackup(method string) bool { return method == "" || method == "least_conn" }

// ParseAddr makes a server's address of a host and a port as they are registered. The
// host is an IPv4 or IPv6 address, with or without brackets. Host names, zones,
// and addresses that no server can have are errors.
func ParseAddr(host string, port int) (netip.AddrPort, error) {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%.60q is no IP address", host)
	}
	return AddrFrom(ip, port)
}

// AddrFrom is ParseAddr for a host that is known to be an address.
func AddrFrom(ip netip.Addr, port int) (netip.AddrPort, error) {
	if ip.Zone() != "" {
		return netip.AddrPort{}, errors.New("an address with a zone is good on one machine only")
	}
	ip = ip.Unmap()
	switch {
	case ip.IsUnspecified():
		return netip.AddrPort{}, fmt.Errorf("%s means every address, not one", ip)
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.AddrPort{}, fmt.Errorf("%s is no address of one machine", ip)
	case port < 1 || port > 65535:
		return netip.AddrPort{}, fmt.Errorf("port %d is not between 1 and 65535", port)
	}
	return netip.AddrPortFrom(ip, uint16(port)), nil
}

// Valid says what is wrong with a server's options, or nil.
func (s Server) Valid() error {
	switch {
	case !s.Addr.IsValid() || s.Addr.Port() == 0:
		return errors.New("the address is missing")
	case s.Weight < 1 || s.Weight > MaxWeight:
		return fmt.Errorf("weight %d is not between 1 and %d", s.Weight, MaxWeight)
	case s.MaxFails < 0 || s.MaxFails > MaxCount:
		return fmt.Errorf("max_fails %d is not between 0 and %d", s.MaxFails, MaxCount)
	case s.MaxConns < 0 || s.MaxConns > MaxCount:
		return fmt.Errorf("max_conns %d is not between 0 and %d", s.MaxConns, MaxCount)
	}
	return ValidFailTimeout(s.FailTimeout)
}

// ValidFailTimeout says what is wrong with a fail_timeout, or nil.
func ValidFailTimeout(d time.Duration) error {
	if d < 0 || d > MaxFailTimeout || d%time.Second != 0 {
		return fmt.Errorf("fail_timeout %s is not a whole number of seconds between 0s and %s", d, MaxFailTimeout)
	}
	return nil
}
