package nginxtree

import (
	"fmt"
	"strings"
)

// Error is a syntax error with its place.
type Error struct {
	File   string
	Line   int
	Reason string
}

// Error returns file, line and reason.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason) }

// luaBlock is the suffix of directives whose braces contain Lua.
const luaBlock = "_by_lua_block"

// maxNesting limits the depth of blocks; real configurations have about seven levels.
const maxNesting = 200

// Parse parses the directives of one file like nginx. It resolves no includes.
func Parse(file string, text []byte) ([]*Directive, error) {
	p := &parser{file: file, text: string(text), line: 1}
	if err := p.run(); err != nil {
		return nil, err
	}
	return p.top, nil
}

type parser struct {
	file, text string
	pos, line  int

	top  []*Directive
	open []*Directive
}

func (p *parser) errorf(format string, args ...any) error {
	return &Error{File: p.file, Line: p.line, Reason: fmt.Sprintf(format, args...)}
}

func (p *parser) run() error {
	var d *Directive
	for {
		p.skipBlank()
		if p.pos == len(p.text) {
			if d != nil || len(p.open) > 0 {
				return p.errorf("unexpected end of the file")
			}
			return nil
		}
		switch c := p.text[p.pos]; {
		case c == '}' && d == nil && len(p.open) > 0:
			p.pos++
			p.open = p.open[:len(p.open)-1]
		case c == '{' && d != nil:
			p.pos++
			d.HasBlock = true
			p.add(d)
			if strings.HasSuffix(d.Name(), luaBlock) {
				if err := p.lua(d); err != nil {
					return err
				}
			} else {
				p.open = append(p.open, d)
				if len(p.open) > maxNesting {
					return p.errorf("blocks more than %d deep", maxNesting)
				}
			}
			d = nil
		case c == ';' && d != nil:
			p.pos++
			p.add(d)
			d = nil
		case c == '{' || c == '}' || c == ';':
			return p.errorf("unexpected %q", string(c))
		default:
			if d == nil {
				d = &Directive{File: p.file, Line: p.line}
			}
			word, err := p.word()
			if err != nil {
				return err
			}
			d.Args = append(d.Args, word)
		}
	}
}

func (p *parser) add(d *Directive) {
	if n := len(p.open); n > 0 {
		p.open[n-1].Block = append(p.open[n-1].Block, d)
	} else {
		p.top = append(p.top, d)
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// skipBlank skips blanks and comments. A # begins a comment only where a word could begin.
func (p *parser) skipBlank() {
	comment := false
	for ; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; {
		case c == '\n':
			p.line++
			comment = false
		case comment || isBlank(c):
		case c == '#':
			comment = true
		default:
			return
		}
	}
}

// take advances by one byte.
func (p *parser) take() byte {
	c := p.text[p.pos]
	p.pos++
	if c == '\n' {
		p.line++
	}
	return c
}

func (p *parser) word() (string, error) {
	if c := p.text[p.pos]; c == '"' || c == '\'' {
		return p.quoted()
	}
	start, variable := p.pos, false
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		if isBlank(c) || c == ';' || c == '{' && !variable {
			break
		}
		variable = c == '$'
		p.take()
		if c == '\\' && p.pos < len(p.text) {
			p.take()
		}
	}
	return unescape(p.text[start:p.pos]), nil
}

func (p *parser) quoted() (string, error) {
	quote, line := p.take(), p.line
	for start := p.pos; p.pos < len(p.text); {
		switch c := p.take(); {
		case c == '\\' && p.pos < len(p.text):
			p.take()
		case c == quote:
			word := unescape(p.text[start : p.pos-1])
			if p.pos < len(p.text) {
				// A ) may follow, as in if ($a = "b").
				if c := p.text[p.pos]; !isBlank(c) && c != ';' && c != '{' && c != ')' {
					return "", p.errorf("unexpected %q behind a closing quote", string(c))
				}
			}
			return word, nil
		}
	}
	p.line = line
	return "", p.errorf("no closing %q", string(quote))
}

// unescape resolves the few escapes that nginx knows. Others are kept.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\'`, `'`, `\t`, "\t", `\r`, "\r", `\n`, "\n").Replace(s)
}

// lua reads up to the closing brace of a Lua block, ignoring braces in strings and comments.
func (p *parser) lua(d *Directive) error {
	start, depth := p.pos, 1
	for p.pos < len(p.text) {
		if strings.HasPrefix(p.text[p.pos:], "--") {
			p.pos += 2
			if !p.longBracket() {
				for p.pos < len(p.text) && p.text[p.pos] != '\n' {
					p.pos++
				}
			}
			continue
		}
		switch c := p.text[p.pos]; c {
		case '"', '\'':
			p.luaString()
			continue
		case '[':
			if p.longBracket() {
				continue
			}
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				d.Lua = p.text[start:p.pos]
				p.pos++
				return nil
			}
		}
		p.take()
	}
	p.line = d.Line
	return p.errorf("the block of Lua has no end")
}

func (p *parser) luaString() {
	quote := p.take()
	for p.pos < len(p.text) {
		switch c := p.take(); {
		case c == '\\' && p.pos < len(p.text):
			p.take()
		case c == quote, c == '\n':
			return
		}
	}
}

// longBracket skips [[…]] or [=[…]=] if one begins here.
func (p *parser) longBracket() bool {
	rest := p.text[p.pos:]
	if rest == "" || rest[0] != '[' {
		return false
	}
	level := 1
	for level < len(rest) && rest[level] == '=' {
		level++
	}
	if level == len(rest) || rest[level] != '[' {
		return false
	}
	end := "]" + rest[1:level] + "]"
	n := len(rest)
	if i := strings.Index(rest, end); i >= 0 {
		n = i + len(end)
	}
	p.line += strings.Count(rest[:n], "\n")
	p.pos += n
	return true
}
