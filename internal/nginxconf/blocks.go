package nginxconf

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// ParseBlocks parses blocks as [AppendBlock] writes them, including notes, with any empty lines in between. It accepts
// careful edits: each directive is on one line, spacing and the order of server parameters are free, and everything
// must be valid. It refuses anything unknown with an *[Error], and skips nothing.
func ParseBlocks(text []byte) ([]upstream.Upstream, error) {
	p := blockParser{names: map[upstream.Key]bool{}, addrs: map[netip.AddrPort]bool{}, notes: map[string]string{}}
	for rest := text; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		p.line++
		if err := p.read(string(line)); err != nil {
			return nil, &Error{Line: p.line, Reason: err.Error()}
		}
	}
	if p.open {
		return nil, &Error{
			Line:   p.line,
			Reason: fmt.Sprintf("found the end of the text, expected } of upstream %s", p.block.Name),
		}
	}
	return p.blocks, nil
}

type blockParser struct {
	line   int
	blocks []upstream.Upstream
	names  map[upstream.Key]bool

	open  bool
	block upstream.Upstream
	addrs map[netip.AddrPort]bool
	words []string

	notes map[string]string // interned: thousands of servers share a few texts
}

func (p *blockParser) read(line string) error {
	code, note, noted := strings.Cut(line, "#")
	code, note = strings.Trim(code, " \t"), strings.Trim(note, " \t")
	switch {
	case code == "" && !noted:
		return nil
	case noted && note == "":
		return unexpected(line, "a note behind #")
	case !p.open:
		return p.begin(code, note, line)
	case code == "}" && !noted:
		return p.end()
	case code == "" && strings.HasPrefix(note, routeNote):
		return p.route(note[len(routeNote):])
	}
	statement, ended := strings.CutSuffix(code, ";")
	p.words = appendFields(p.words[:0], statement)
	if !ended || len(p.words) == 0 {
		return unexpected(line, `a directive that ends with ";", or "}"`)
	}
	if p.words[0] == "server" {
		return p.server(note, line)
	}
	if noted {
		return unexpected(line, "no comment here")
	}
	return p.option(line)
}

func (p *blockParser) begin(code, note, line string) error {
	const want = `"upstream NAME {"`
	p.words = appendFields(p.words[:0], code)
	if len(p.words) != 3 || p.words[0] != "upstream" || p.words[2] != "{" {
		return unexpected(line, want)
	}
	u := upstream.Upstream{Name: strings.Clone(p.words[1])}
	if err := upstream.ValidName(u.Name); err != nil {
		return fmt.Errorf("found the upstream name %s: %w", safetext.Quote(u.Name), err)
	}
	// Names that differ only in case are equal to nginx.
	key := upstream.KeyOf(u.Name)
	if p.names[key] {
		return fmt.Errorf("found upstream %s a second time", u.Name)
	}
	if note != "" {
		canary, ok := strings.CutPrefix(note, canaryNote)
		if ok {
			u.Canary, ok = readNote(canary)
		}
		if !ok || u.Canary == "" {
			return unexpected(line, want+` or "upstream NAME { # canary SUFFIX"`)
		}
	}
	p.names[key] = true
	p.open, p.block = true, u
	clear(p.addrs)
	return nil
}

func (p *blockParser) route(text string) error {
	r, err := route.ParseText(text, p.block.Name)
	if err != nil {
		return fmt.Errorf("found route %s: %w", safetext.Quote(text), err)
	}
	p.block.Routes = append(p.block.Routes, r)
	return nil
}

func (p *blockParser) server(note, line string) error {
	if len(p.words) < 2 {
		return unexpected(line, `"server ADDRESS:PORT ..."`)
	}
	s, err := readParams(p.words[2:])
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(p.words[1])
	if err != nil {
		return unexpected(p.words[1], "an IP address with a port, such as 10.0.0.1:80 or [2001:db8::1]:80")
	}
	s.Addr = addr
	if err := s.Valid(); err != nil {
		return fmt.Errorf("found server %s: %w", addr, err)
	}
	if p.addrs[addr] {
		return fmt.Errorf("found server %s a second time in upstream %s", addr, p.block.Name)
	}
	p.addrs[addr] = true
	origin, host, named := strings.Cut(note, " ")
	var known, hosted bool
	s.Origin, known = p.note(origin)
	s.Host, hosted = p.note(host)
	if !known || !hosted || named && (s.Origin == "" || !upstream.IsHostPort(s.Host)) {
		return unexpected(line, "a note on the server's origin behind #, and the host name and port that it is registered by if it is")
	}
	p.block.Servers = append(p.block.Servers, s)
	return nil
}

// note parses and interns a note.
func (p *blockParser) note(text string) (string, bool) {
	text, ok := readNote(text)
	if !ok {
		return "", false
	}
	if kept, ok := p.notes[text]; ok {
		return kept, true
	}
	text = strings.Clone(text)
	p.notes[text] = text
	return text, true
}

func (p *blockParser) option(line string) error {
	o := &p.block.Options
	if p.words[0] == "keepalive" {
		switch {
		case o.Keepalive != 0:
			return unexpected(line, "one keepalive an upstream")
		case len(p.words) == 2:
			if n, ok := readNumber(p.words[1]); ok && n >= 1 && n <= upstream.MaxCount {
				o.Keepalive = n
				return nil
			}
		}
		return unexpected(line, fmt.Sprintf("keepalive and a number from 1 to %d", upstream.MaxCount))
	}
	method := strings.Join(p.words, " ")
	switch {
	case upstream.ValidMethod(method) != nil:
		return unexpected(line, "a server, keepalive, or a balancing method such as least_conn")
	case o.Method != "":
		return unexpected(line, "one balancing method an upstream")
	case o.Keepalive != 0:
		return unexpected(line, "the balancing method before keepalive, which nginx loses otherwise")
	}
	o.Method = method
	return nil
}

func (p *blockParser) end() error {
	p.block.Routes = route.Canonical(p.block.Routes)
	if err := Valid(p.block); err != nil {
		return fmt.Errorf("found the end of upstream %s: %w", p.block.Name, err)
	}
	p.blocks = append(p.blocks, p.block)
	p.open = false
	return nil
}

func unexpected(found, want string) error {
	return fmt.Errorf("found %s, expected %s", safetext.Quote(strings.Trim(found, " \t")), want)
}

// appendFields appends the words of s, which are separated by blanks.
func appendFields(words []string, s string) []string {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" {
			return words
		}
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		words = append(words, s[:end])
		s = s[end:]
	}
}

// readNote reverses appendNote.
func readNote(s string) (string, bool) {
	escaped := false
	for i := range len(s) {
		switch {
		case s[i] == '%':
			escaped = true
		case !isNoteByte(s[i]):
			return "", false
		}
	}
	if !escaped {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if len(s)-i < 3 {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}
