package config

import (
	"strconv"
	"strings"
)

// maxDepth is how many dots a key and how many brackets a value may have; ours have
// three. With no limit a file of nothing but brackets would exhaust the memory.
const maxDepth = 20

// keyLines finds the line of every key and table; the TOML package keeps that to
// itself. What it misses has no line, no wrong one. In a text that is not TOML it
// ends early. deep is the line on which something goes deeper than maxDepth, or 0.
func keyLines(content string) (lines map[string]int, deep int) {
	s := scanner{text: content, line: 1, lines: map[string]int{}, count: map[string]int{}}
	var table []string
	for s.skipSpace(); s.pos < len(s.text); s.skipSpace() {
		before := s.pos
		if s.take("[") {
			list := s.take("[")
			table = s.enter(s.key(), list)
			s.record(table)
			s.take("]")
			if list {
				s.take("]")
			}
		} else {
			s.pair(table)
		}
		if s.pos == before {
			break // not TOML
		}
	}
	return s.lines, s.deep
}

// join makes a path the key of a map; index is the part that stands for a list's
// n-th element.
func join(path []string) string { return strings.Join(path, "\x00") }

func index(n int) string { return "#" + strconv.Itoa(n) }

type scanner struct {
	text          string
	pos           int
	line, counted int // the line at offset counted
	lines         map[string]int
	count         map[string]int // how many elements a [[list]] has so far
	depth, deep   int
}

func (s *scanner) record(path []string) {
	if key := join(path); s.lines[key] == 0 {
		s.lines[key] = s.lineHere()
	}
}

func (s *scanner) lineHere() int {
	s.line += strings.Count(s.text[s.counted:s.pos], "\n")
	s.counted = s.pos
	return s.line
}

// tooDeep ends the scan.
func (s *scanner) tooDeep() {
	if s.deep == 0 {
		s.deep = s.lineHere()
	}
	s.pos = len(s.text)
}

// enter is the path of a table's header: within lists it leads to the last element.
func (s *scanner) enter(key []string, list bool) []string {
	var path []string
	for i, part := range key {
		path = append(path, part)
		id := join(path)
		if list && i == len(key)-1 {
			s.count[id]++
			s.record(path)
		}
		if n := s.count[id]; n > 0 {
			path = append(path, index(n))
		}
	}
	return path
}

func (s *scanner) pair(table []string) {
	path := append(table[:len(table):len(table)], s.key()...)
	s.record(path)
	if s.take("=") {
		s.skipBlanks()
		s.value(path)
	}
}

func (s *scanner) value(path []string) {
	if s.depth++; s.depth > maxDepth {
		s.tooDeep()
	}
	defer func() { s.depth-- }()
	switch {
	case s.take(`"""`):
		s.multiline(`"""`, true)
	case s.take(`'''`):
		s.multiline(`'''`, false)
	case s.take(`"`):
		s.until('"', true)
	case s.take(`'`):
		s.until('\'', false)
	case s.take("["):
		for i := 1; s.more("]"); i++ {
			s.value(append(path[:len(path):len(path)], index(i)))
		}
	case s.take("{"):
		for s.more("}") {
			s.pair(path)
		}
	default:
		n := strings.IndexAny(s.text[s.pos:], ",]}#\n")
		if n < 0 {
			n = len(s.text) - s.pos
		}
		s.pos += n
	}
}

// more reports whether there is another element before the closing bracket, and
// passes the comma, or the bracket.
func (s *scanner) more(closing string) bool {
	s.skipSpace()
	if s.take(",") {
		s.skipSpace()
	}
	if s.pos >= len(s.text) || s.take(closing) {
		return false
	}
	return !strings.ContainsRune(",]}", rune(s.text[s.pos])) // else not TOML
}

func (s *scanner) key() []string {
	var path []string
	for {
		s.skipBlanks()
		start := s.pos
		switch {
		case s.take(`"`):
			s.until('"', true)
			part := s.text[start:s.pos]
			if plain, err := strconv.Unquote(part); err == nil {
				part = plain
			}
			path = append(path, part)
		case s.take(`'`):
			s.until('\'', false)
			path = append(path, strings.Trim(s.text[start:s.pos], `'`))
		default:
			for s.pos < len(s.text) && !strings.ContainsRune(" \t.=]\"'\n", rune(s.text[s.pos])) {
				s.pos++
			}
			path = append(path, s.text[start:s.pos])
		}
		s.skipBlanks()
		if len(path) > maxDepth {
			s.tooDeep()
		}
		if !s.take(".") {
			return path
		}
	}
}

func (s *scanner) until(quote byte, escapes bool) {
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == quote:
			return
		case c == '\\' && escapes:
			s.pos = min(s.pos+1, len(s.text))
		}
	}
}

func (s *scanner) multiline(quotes string, escapes bool) {
	for s.pos < len(s.text) && !s.take(quotes) {
		if s.text[s.pos] == '\\' && escapes {
			s.pos++
		}
		s.pos = min(s.pos+1, len(s.text))
	}
	// One or two quotes may stand right before the closing three.
	for range 2 {
		s.take(quotes[:1])
	}
}

func (s *scanner) take(token string) bool {
	if strings.HasPrefix(s.text[s.pos:], token) {
		s.pos += len(token)
		return true
	}
	return false
}

func (s *scanner) skipBlanks() {
	for s.pos < len(s.text) && strings.ContainsRune(" \t", rune(s.text[s.pos])) {
		s.pos++
	}
}

// skipSpace passes blanks, ends of lines and comments.
func (s *scanner) skipSpace() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		case '#':
			n := strings.IndexByte(s.text[s.pos:], '\n')
			if n < 0 {
				n = len(s.text) - s.pos
			}
			s.pos += n
		default:
			return
		}
	}
}
