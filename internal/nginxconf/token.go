package nginxconf

import (
	"fmt"
	"strings"
)

// directive is one directive's words, its name first, and the line that it begins on.
type directive struct {
	line int
	args []string
}

// tokenizer cuts a text into directives as nginx's own reader does: words apart by
// blanks, in double or single quotes or without, backslash escapes, ${...}, comments.
type tokenizer struct {
	text string
	pos  int
	line int // of the byte at pos, from 1
}

func newTokenizer(text []byte) *tokenizer { return &tokenizer{text: string(text), line: 1} }

func (t *tokenizer) errorf(format string, args ...any) error {
	return &Error{Line: t.line, Reason: fmt.Sprintf(format, args...)}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next is the next directive, or false at the end. Braces are errors: what stands
// within an upstream has no blocks.
func (t *tokenizer) next() (directive, bool, error) {
	var d directive
	for {
		t.skipBlank()
		if t.pos == len(t.text) {
			if len(d.args) > 0 {
				return d, false, t.errorf("unexpected end, expecting \";\"")
			}
			return d, false, nil
		}
		switch c := t.text[t.pos]; {
		case c == '{' || c == '}' || c == ';' && len(d.args) == 0:
			return d, false, t.errorf("unexpected %q", string(c))
		case c == ';':
			t.pos++
			return d, true, nil
		}
		if len(d.args) == 0 {
			d.line = t.line
		}
		word, err := t.word()
		if err != nil {
			return d, false, err
		}
		d.args = append(d.args, word)
	}
}

// skipBlank skips blanks and comments. A # begins a comment only where a word could.
func (t *tokenizer) skipBlank() {
	comment := false
	for ; t.pos < len(t.text); t.pos++ {
		switch c := t.text[t.pos]; {
		case c == '\n':
			t.line++
			comment = false
		case comment || isBlank(c):
		case c == '#':
			comment = true
		default:
			return
		}
	}
}

func (t *tokenizer) word() (string, error) {
	if c := t.text[t.pos]; c == '"' || c == '\'' {
		return t.quoted(c)
	}
	start := t.pos
	for t.pos < len(t.text) {
		c := t.text[t.pos]
		switch {
		case isBlank(c), c == ';':
			return unescape(t.text[start:t.pos]), nil
		case c == '{' && t.text[t.pos-1] == '$' && !t.escaped(start, t.pos-1): // ${name}
		case c == '{':
			return "", t.errorf("unexpected \"{\"")
		case c == '\\' && t.pos+1 < len(t.text):
			t.pos++
			if t.text[t.pos] == '\n' {
				t.line++
			}
		}
		t.pos++
	}
	return "", t.errorf("unexpected end, expecting \";\"")
}

// escaped reports whether the byte at pos stands behind an odd number of backslashes.
func (t *tokenizer) escaped(start, pos int) bool {
	n := 0
	for pos-n-1 >= start && t.text[pos-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

func (t *tokenizer) quoted(quote byte) (string, error) {
	t.pos++
	start := t.pos
	for ; t.pos < len(t.text); t.pos++ {
		switch c := t.text[t.pos]; c {
		case '\n':
			t.line++
		case '\\':
			if t.pos+1 < len(t.text) {
				t.pos++
				if t.text[t.pos] == '\n' {
					t.line++
				}
			}
		case quote:
			word := unescape(t.text[start:t.pos])
			t.pos++
			return word, t.afterQuote()
		}
	}
	return "", t.errorf("unexpected end, expecting %q", string(quote))
}

// afterQuote demands what nginx does behind a closing quote: a blank, or the
// directive's end.
func (t *tokenizer) afterQuote() error {
	if t.pos < len(t.text) {
		if c := t.text[t.pos]; !isBlank(c) && c != ';' {
			return t.errorf("unexpected %q behind a closing quote", string(c))
		}
	}
	return nil
}

// unescape resolves the few escapes that nginx knows; others stay as they are.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '"', '\'', '\\':
			b.WriteByte(s[i+1])
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		default:
			b.WriteByte('\\')
			continue
		}
		i++
	}
	return b.String()
}
