package nginxconf

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// readParams parses the parameters of a server directive like nginx: missing ones have nginx's defaults, and the last
// of duplicates counts.
func readParams(params []string) (upstream.Server, error) {
	s := upstream.Server{Weight: 1, MaxFails: 1, FailTimeout: 10 * time.Second}
	for _, p := range params {
		key, value, _ := strings.Cut(p, "=")
		ok := true
		switch {
		case p == "backup":
			s.Backup = true
		case p == "down":
			s.Down = true
		case len(key) == len(p):
			ok = false
		case key == "weight":
			s.Weight, ok = readNumber(value)
			ok = ok && s.Weight > 0
		case key == "max_conns":
			s.MaxConns, ok = readNumber(value)
		case key == "max_fails":
			s.MaxFails, ok = readNumber(value)
		case key == "fail_timeout":
			s.FailTimeout, ok = readSeconds(value)
		default:
			ok = false
		}
		if !ok {
			return upstream.Server{}, fmt.Errorf("invalid parameter %s", safetext.Quote(p))
		}
	}
	return s, nil
}

// readNumber accepts digits only, without a sign.
func readNumber(s string) (int, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// units of nginx's times, in the only order in which they may follow each other.
const units = "yMwdhms"

func secondsOf(unit byte) int64 {
	switch unit {
	case 'y':
		return 365 * 24 * 3600
	case 'M':
		return 30 * 24 * 3600
	case 'w':
		return 7 * 24 * 3600
	case 'd':
		return 24 * 3600
	case 'h':
		return 3600
	case 'm':
		return 60
	default:
		return 1
	}
}

// readSeconds parses a time such as 90, 90s or 1m30s. A number without a unit is in seconds. Milliseconds are refused.
func readSeconds(s string) (time.Duration, bool) {
	const most = int64(math.MaxInt64 / time.Second)
	var total int64
	next := 0 // index in units of the largest unit still allowed
	for s != "" {
		digits := 0
		for digits < len(s) && '0' <= s[digits] && s[digits] <= '9' {
			digits++
		}
		n, ok := readNumber(s[:digits])
		if !ok {
			return 0, false
		}
		s = s[digits:]
		scale := int64(1)
		if s == "" {
			next = len(units)
		} else {
			i := strings.IndexByte(units, s[0])
			if i < next {
				return 0, false
			}
			scale, next, s = secondsOf(s[0]), i+1, s[1:]
		}
		if int64(n) > (most-total)/scale {
			return 0, false
		}
		total += int64(n) * scale
		if next == len(units) && s != "" {
			return 0, false
		}
		if s == "" {
			return time.Duration(total) * time.Second, true
		}
	}
	return 0, false
}

// maxUnixPath is the maximum length of a socket's path on Linux, without the final zero.
const maxUnixPath = 107

// readAddr parses the address of a server directive. A unix socket, which only nginx understands, is the zero value.
// Host names other than localhost are errors, as for an nginx that can't resolve them.
func readAddr(url string) (netip.AddrPort, error) {
	if path, ok := cutUnix(url); ok {
		switch {
		case path == "":
			return netip.AddrPort{}, errors.New("no path in the unix domain socket")
		case len(path) > maxUnixPath:
			return netip.AddrPort{}, errors.New("too long path in the unix domain socket")
		}
		return netip.AddrPort{}, nil
	}
	if strings.HasPrefix(url, "[") {
		return readIPv6(url)
	}
	if strings.ContainsAny(url, "/?") {
		return netip.AddrPort{}, errors.New("invalid host")
	}
	host, portText, hasPort := strings.Cut(url, ":")
	port, err := readPort(portText, hasPort)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPort{}, errors.New("no host")
	}
	if host == "localhost" {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return netip.AddrPort{}, errors.New("host not found")
	}
	return netip.AddrPortFrom(ip, port), nil
}

func cutUnix(url string) (path string, ok bool) {
	const scheme = "unix:" // in any case
	if len(url) < len(scheme) || !strings.EqualFold(url[:len(scheme)], scheme) {
		return "", false
	}
	return url[len(scheme):], true
}

func readIPv6(url string) (netip.AddrPort, error) {
	host, rest, closed := strings.Cut(url[1:], "]")
	if !closed || strings.Contains(rest, "/") || rest != "" && rest[0] != ':' {
		return netip.AddrPort{}, errors.New("invalid host")
	}
	port, err := readPort(strings.TrimPrefix(rest, ":"), rest != "")
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPort{}, errors.New("no host")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return netip.AddrPort{}, errors.New("invalid IPv6 address")
	}
	return netip.AddrPortFrom(ip, port), nil
}

// readPort parses a port. nginx's default is 80.
func readPort(text string, there bool) (uint16, error) {
	if !there {
		return 80, nil
	}
	n, ok := readNumber(text)
	if !ok || n < 1 || n > 65535 {
		return 0, errors.New("invalid port")
	}
	return uint16(n), nil
}
