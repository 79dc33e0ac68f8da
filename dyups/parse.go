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

// Detail is the answer to GET /detail: one worker's copy, without block options (keepalive, balancing method).
type Detail struct {
	// Upstreams has each name once. An upstream from nginx's own configuration may not be readable: see Odd. If also
	// its name is one that ours can't have, it is omitted.
	Upstreams []upstream.Upstream
	// MaxConns reports whether the build shows max_conns.
	MaxConns bool
	// Odd has the upstreams that can't be read. They have a single zero Server in Upstreams.
	Odd map[upstream.Key]Odd
}

// Odd describes an upstream that can't be read.
type Odd struct {
	Why string
	// Twins reports that several upstreams have names that the interface can't distinguish: a post or delete may hit
	// any of them.
	Twins bool
}

const maxLine = 4 << 10

// parseDetail parses blocks of a name, its servers and a blank line:
//
//	web
//	server 10.0.0.1:80 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0
//
// Upstreams from nginx's own configuration are included. They may have no address (a name that nginx has not resolved),
// any name that can be quoted, or names that differ only in case. An upstream that can't be read does not affect the
// others.
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

// blocksOf returns the blocks of the named upstreams from such an answer, and everything that is not a block with a
// server, for the parser to judge.
func blocksOf(b []byte, names map[upstream.Key]bool) []byte {
	var part []byte
	for len(b) > 0 {
		block, whole := b, false
		if end := bytes.Index(b, []byte("\n\n")); end >= 0 {
			block, whole = b[:end+2], true
		}
		b = b[len(block):]
		name, servers, _ := bytes.Cut(block, []byte("\n"))
		if !whole || !bytes.HasPrefix(servers, []byte(serverMark)) || named(names, name) {
			part = append(part, block...)
		}
	}
	return part
}

func named(names map[upstream.Key]bool, name []byte) bool {
	if names[upstream.Key(name)] { // does not copy
		return true
	}
	return bytes.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && names[upstream.KeyOf(string(name))]
}

type detailParser struct {
	Detail
	at      map[upstream.Key]int // index in Upstreams
	servers int                  // parsed so far

	// The current block.
	open   bool
	name   []string // its lines: a quoted name may span several
	list   []upstream.Server
	lines  int    // server lines
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

// end adds the block that just ended.
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

// parseList parses one name per line. It omits names that ours can't have.
func parseList(b []byte) ([]string, error) {
	names := make([]string, 0, bytes.Count(b, []byte("\n")))
	err := eachLine(b, func(line string) error {
		if line != "" && strings.IndexByte("<{", line[0]) >= 0 { // HTML or JSON
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

// parseUpstream parses `server ADDR` lines.
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

// parseName accepts more than swallowkeeper would ever write, because an operator's own upstreams are listed too.
// Anything that an unquoted nginx name can't contain is an error.
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
