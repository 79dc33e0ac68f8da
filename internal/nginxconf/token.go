package nginxconf

import (
	"fmt"
	"strings"
)

// directive is the words of a directive, starting with its name, and the line where it begins.
type directive struct {
	line int
	args []string
}

// tokenizer splits a text into directives like nginx's own parser: words separated by blanks, optionally in single or
// double quotes, backslash escapes, ${...}, comments.
type tokenizer struct {
	text string
	pos  int
	line int // of the byte at pos, starting at 1
}

func newTokenizer(text []byte) *tokenizer { return &tokenizer{text: string(text), line: 1} }

func (t *tokenizer) errorf(format string, args ...any) error {
	return &Error{Line: t.line, Reason: fmt.Sprintf(format, args...)}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// next returns the next directive, or false at the end. Braces are errors, as an upstream contains no blocks.
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

// skipBlank skips blanks and comments. A # begins a comment only where a word could begin.
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

// escaped reports whether the byte at pos follows an odd number of backslashes.
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

// afterQuote checks that a closing quote is followed by a blank or the end of the directive, as nginx requires.
func (t *tokenizer) afterQuote() error {
	if t.pos < len(t.text) {
		if c := t.text[t.pos]; !isBlank(c) && c != ';' {
			return t.errorf("unexpected %q behind a closing quote", string(c))
		}
	}
	return nil
}

// unescape resolves the few escapes that nginx knows. Others are kept.
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
