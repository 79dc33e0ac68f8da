package dyups

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/upstream"
)

// Detail is what GET /detail shows of one worker's copy. Block options (keepalive,
// balancing method) are not shown.
type Detail struct {
	Upstreams []upstream.Upstream
	// MaxConns says whether the build shows max_conns.
	MaxConns bool
}

const maxLine = 4 << 10

// parseDetail reads blocks of a name, its servers and a blank line:
//
//	web
//	server 10.0.0.1:80 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0
func parseDetail(b []byte) (Detail, error) {
	d := Detail{Upstreams: make([]upstream.Upstream, 0, bytes.Count(b, []byte("\n\n")))}
	var open *upstream.Upstream
	var servers int
	names := map[string]bool{}
	err := eachLine(b, func(line string) error {
		switch {
		case open == nil:
			name, err := parseName(line)
			if err != nil {
				return err
			}
			if key := strings.ToLower(name); names[key] {
				return fmt.Errorf("upstream %.60q stands there twice", name)
			} else {
				names[key] = true
			}
			d.Upstreams = append(d.Upstreams, upstream.Upstream{Name: name})
			open = &d.Upstreams[len(d.Upstreams)-1]
			return nil
		case line == "":
			open = nil
			return nil
		}
		s, maxConns, err := parseServer(line)
		if err != nil {
			return err
		}
		if servers > 0 && maxConns != d.MaxConns {
			return errors.New("max_conns is shown of some servers only")
		}
		servers++
		d.MaxConns = maxConns
		open.Servers = append(open.Servers, s)
		return nil
	})
	if err == nil && open != nil {
		err = errors.New("the blank line after the last upstream is missing")
	}
	if err != nil {
		return Detail{}, err
	}
	return d, nil
}

// parseList reads a name a line.
func parseList(b []byte) ([]string, error) {
	names := make([]string, 0, bytes.Count(b, []byte("\n")))
	err := eachLine(b, func(line string) error {
		name, err := parseName(line)
		names = append(names, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// parseUpstream reads `server ADDR` lines.
func parseUpstream(b []byte) ([]netip.AddrPort, error) {
	addrs := make([]netip.AddrPort, 0, bytes.Count(b, []byte("\n")))
	err := eachLine(b, func(line string) error {
		addr, ok := strings.CutPrefix(line, "server ")
		if !ok {
			return fmt.Errorf("%.60q is no server", line)
		}
		a, err := parseAddr(addr)
		addrs = append(addrs, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	return addrs, nil
}

func eachLine(b []byte, use func(line string) error) error {
	for n := 1; len(b) > 0; n++ {
		end := bytes.IndexByte(b, '\n')
		switch {
		case end < 0:
			return fmt.Errorf("line %d has no end", n)
		case end > maxLine:
			return fmt.Errorf("line %d has %d bytes, at most %d are allowed", n, end, maxLine)
		}
		if err := use(string(b[:end])); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		b = b[end+1:]
	}
	return nil
}

// parseName takes more than what swallowkeeper would ever write: an operator's own
// upstreams are listed too. What can't be in an nginx name without quotes is refused.
func parseName(line string) (string, error) {
	if line == "" {
		return "", errors.New("the name of an upstream is missing")
	}
	for i := range len(line) {
		if c := line[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`<>{};"'`, c) >= 0 {
			return "", fmt.Errorf("%.60q is no name of an upstream", line)
		}
	}
	return line, nil
}

func parseAddr(s string) (netip.AddrPort, error) {
	if strings.HasPrefix(s, "unix:") {
		return netip.AddrPort{}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%.60q is no address with a port", s)
	}
	return a, nil
}

func parseServer(line string) (s upstream.Server, maxConns bool, err error) {
	rest, ok := strings.CutPrefix(line, "server ")
	if !ok {
		return s, false, fmt.Errorf("%.60q is no server", line)
	}
	addr, rest, _ := strings.Cut(rest, " ")
	if s.Addr, err = parseAddr(addr); err != nil {
		return s, false, err
	}
	var backup, down, seconds int
	fields := []struct {
		key  string
		to   *int
		most int
	}{
		{"weight=", &s.Weight, 1<<31 - 1},
		{"max_conns=", &s.MaxConns, 1<<31 - 1},
		{"max_fails=", &s.MaxFails, 1<<31 - 1},
		{"fail_timeout=", &seconds, 1<<31 - 1},
		{"backup=", &backup, 1},
		{"down=", &down, 1},
	}
	for _, f := range fields {
		value, found := strings.CutPrefix(rest, f.key)
		if f.to == &s.MaxConns {
			if maxConns = found; !found {
				continue
			}
		}
		if !found {
			return s, false, fmt.Errorf("%q is missing at %.60q", f.key, rest)
		}
		value, rest, _ = strings.Cut(value, " ")
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n > uint64(f.most) {
			return s, false, fmt.Errorf("%s%.20q is not a number from 0 to %d", f.key, value, f.most)
		}
		*f.to = int(n)
	}
	if rest != "" || strings.HasSuffix(line, " ") {
		return s, false, fmt.Errorf("%.60q is too much", rest)
	}
	s.FailTimeout = time.Duration(seconds) * time.Second
	s.Backup, s.Down = backup == 1, down == 1
	return s, maxConns, nil
}
