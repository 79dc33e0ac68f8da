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
	// Upstreams each have a name once. What an upstream of nginx's own configuration shows may not
	// be understood: see Odd. A name that no upstream of ours can have is left out where it is odd.
	Upstreams []upstream.Upstream
	// MaxConns says whether the build shows max_conns.
	MaxConns bool
	// Odd says why an upstream can't be read, by its name in lower case. Its one server then is
	// the zero Server.
	Odd map[upstream.Key]Odd
}

// Odd is an upstream that can't be read.
type Odd struct {
	Why string
	// Twins says that several upstreams have names that the interface takes for one: what is
	// posted or deleted may hit any of them.
	Twins bool
}

const maxLine = 4 << 10

// parseDetail reads blocks of a name, its servers and a blank line:
//
//	web
//	server 10.0.0.1:80 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0
//
// Upstreams of nginx's own configuration stand there too: with no address (a name that nginx has
// not resolved), with any name that can be quoted, with names that differ in case alone. What is
// not understood of one upstream says nothing of the others.
func parseDetail(b []byte) (Detail, error) {
	p := detailParser{at: map[upstream.Key]int{}}
	p.Upstreams = make([]upstream.Upstream, 0, bytes.Count(b, []byte("\n\n")))
	err := eachLine(b, p.line)
	if err == nil && p.open {
		err = errors.New("the blank line after the last upstream is missing")
	}
	if err != nil {
		return Detail{}, err
	}
	return p.Detail, nil
}

type detailParser struct {
	Detail
	at      map[upstream.Key]int // places in Upstreams
	servers int                  // that were read

	// The block under way.
	open   bool
	name   []string // its lines: a quoted name may have several
	list   []upstream.Server
	lines  int    // of servers
	oddity string // why it can't be read
}

func (p *detailParser) line(line string) error {
	switch {
	case !p.open:
		p.open, p.name, p.list, p.lines, p.oddity = true, append(p.name[:0], line), nil, 0, ""
		return nil
	case line == "":
		p.open = false
		return p.end()
	case !strings.HasPrefix(line, serverMark):
		if p.lines > 0 {
			return fmt.Errorf("%.60q is no server", line)
		}
		p.name = append(p.name, line)
		return nil
	}
	p.lines++
	s, maxConns, err := parseServer(line)
	switch {
	case err != nil:
		p.oddity = err.Error()
	case p.servers > 0 && maxConns != p.MaxConns:
		p.oddity = "max_conns is shown of some servers only"
	default:
		p.servers++
		p.MaxConns = maxConns
		p.list = append(p.list, s)
	}
	return nil
}

// end takes in the block that has ended.
func (p *detailParser) end() error {
	if len(p.name) > 1 && p.lines == 0 {
		return fmt.Errorf("%.60q is no server", p.name[1])
	}
	name := strings.Join(p.name, "\n")
	if err := parseName(name); err != nil {
		if p.lines == 0 {
			return err // without servers it may be any text
		}
		return nil
	}
	odd := Odd{Why: p.oddity}
	key := upstream.KeyOf(name)
	i, twin := p.at[key]
	if twin {
		odd = twinsOf(p.Upstreams[i].Name, name)
	} else {
		i = len(p.Upstreams)
		p.at[key] = i
		p.Upstreams = append(p.Upstreams, upstream.Upstream{Name: name, Servers: p.list})
	}
	if odd.Why != "" {
		if p.Odd == nil {
			p.Odd = map[upstream.Key]Odd{}
		}
		p.Odd[key] = odd
		p.Upstreams[i].Servers = []upstream.Server{{}}
	}
	return nil
}

func twinsOf(a, b string) Odd {
	return Odd{Twins: true, Why: fmt.Sprintf("nginx has upstreams %s and %s, which dyups can't tell apart", a, b)}
}

// parseList reads a name a line. Those that no upstream of ours can have are left out.
func parseList(b []byte) ([]string, error) {
	names := make([]string, 0, bytes.Count(b, []byte("\n")))
	err := eachLine(b, func(line string) error {
		if line != "" && strings.IndexByte("<{", line[0]) >= 0 { // a page, or JSON
			return fmt.Errorf("%.60q is no name of an upstream", line)
		}
		if parseName(line) == nil {
			names = append(names, line)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

const serverMark = "server "

// parseUpstream reads `server ADDR` lines.
func parseUpstream(b []byte) ([]netip.AddrPort, error) {
	addrs := make([]netip.AddrPort, 0, bytes.Count(b, []byte("\n")))
	err := eachLine(b, func(line string) error {
		addr, ok := strings.CutPrefix(line, serverMark)
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
// upstreams are listed too. What can't be in an nginx name without quotes is an error.
func parseName(line string) error {
	if line == "" {
		return errors.New("the name of an upstream is missing")
	}
	for i := range len(line) {
		if c := line[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`<>{};"'`, c) >= 0 {
			return fmt.Errorf("%.60q is no name of an upstream", line)
		}
	}
	return nil
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
	addr, rest, _ := strings.Cut(strings.TrimPrefix(line, serverMark), " ")
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
