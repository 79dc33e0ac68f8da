package route

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind is the kind of a segment.
type Kind int

// Kinds of segments, most specific first.
const (
	Literal  Kind = iota // a literal text
	Classed              // a variable with a character class
	Variable             // any segment that is not empty
	Rest                 // everything that follows, possibly nothing; always last
)

// Segment is the part of a pattern between two slashes.
type Segment struct {
	Kind Kind
	// Text is the literal text, "" after a trailing slash, or the name of a variable, "" for *.
	Text string
	// Class is the set of characters of a Classed variable as written between brackets, such as a-z0-9: letters,
	// digits, ranges of them, and . _ ~ -.
	Class string
	// Least and Most are the minimum and maximum length of a Classed variable. A Most of 0 means no limit.
	Least, Most int
}

// Pattern is a parsed path.
type Pattern []Segment

// ParsePath parses a path. Its error says what is wrong.
func ParsePath(path string) (Pattern, error) {
	p, err := parsePath(path)
	if err != nil {
		return nil, badPath.Err(quote(path), err)
	}
	return p, nil
}

func parsePath(path string) (Pattern, error) {
	switch {
	case path == "" || path[0] != '/':
		return nil, noSlash.Err()
	case len(path) > MaxPath:
		return nil, tooLong.Err(len(path), MaxPath)
	case path == ownPath || strings.HasPrefix(path, ownPath+"/"):
		return nil, isOurs.Err(ownPath)
	}
	var p Pattern
	rest := path[1:]
	for {
		if len(p) > 0 && p[len(p)-1].Kind == Rest {
			return nil, restLast.Err(p[len(p)-1].String())
		}
		var s Segment
		var err error
		if s, rest, err = cutSegment(rest); err != nil {
			return nil, err
		}
		ends := rest == ""
		if s.Kind == Literal && s.Text == "" && !ends {
			return nil, twoSlashes.Err()
		}
		if s.Kind != Literal && s.Text != "" && slices.ContainsFunc(p, func(o Segment) bool { return o.Kind != Literal && o.Text == s.Text }) {
			return nil, twice.Err(s.Text)
		}
		if p = append(p, s); ends {
			return p, nil
		}
		rest = rest[1:]
	}
}

// cutSegment splits off the first segment. rest begins with a slash or is empty.
func cutSegment(path string) (s Segment, rest string, err error) {
	if path != "" && path[0] == '{' {
		return cutVariable(path)
	}
	end := strings.IndexByte(path, '/')
	if end < 0 {
		end = len(path)
	}
	text, rest := path[:end], path[end:]
	if text == "*" {
		return Segment{Kind: Rest}, rest, nil
	}
	for _, c := range text {
		switch {
		case c == '*':
			return s, "", star.Err()
		case c == '{' || c == '}':
			return s, "", braces.Err("/orders/{id}")
		case c > 0x7e || !isPathByte(byte(c)):
			return s, "", badCharacter.Err(fmt.Sprintf("%q", c))
		}
	}
	if text == "." || text == ".." {
		return s, "", dots.Err(quote(text))
	}
	return Segment{Text: text}, rest, nil
}

// cutVariable splits off a variable, whose class may contain braces.
func cutVariable(path string) (s Segment, rest string, err error) {
	end, depth := -1, 0
	for i := 0; i < len(path) && end < 0; i++ {
		switch path[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				end = i
			}
		}
	}
	if end < 0 {
		return s, "", openBrace.Err()
	}
	inside, rest := path[1:end], path[end+1:]
	if rest != "" && rest[0] != '/' {
		return s, "", wholeSegment.Err(quote("{" + inside + "}"))
	}
	if name, is := strings.CutSuffix(inside, "..."); is {
		s = Segment{Kind: Rest, Text: name}
	} else if name, class, is := strings.Cut(inside, ":"); is {
		if s, err = parseClass(class); err != nil {
			return s, "", err
		}
		s.Text = name
	} else {
		s = Segment{Kind: Variable, Text: inside}
	}
	if !isVariableName(s.Text) {
		return s, "", badVariable.Err(quote(s.Text))
	}
	return s, rest, nil
}

func isVariableName(s string) bool {
	if s == "" || len(s) > 32 || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

// parseClass parses a character class with its quantifier: [0-9]+, [a-z0-9-]{4} or [a-z]{1,8}.
func parseClass(class string) (s Segment, err error) {
	bad := badClass.Err(quote(class), "[0-9]+, [a-z0-9-]{4}")
	inside, quantifier, closed := strings.Cut(class, "]")
	inside, opened := strings.CutPrefix(inside, "[")
	if !opened || !closed || !isClass(inside) {
		return s, bad
	}
	s = Segment{Kind: Classed, Class: inside, Least: 1}
	if quantifier == "+" {
		return s, nil
	}
	counts, isOpen := strings.CutPrefix(quantifier, "{")
	counts, isClosed := strings.CutSuffix(counts, "}")
	least, most, two := strings.Cut(counts, ",")
	if !two {
		most = least
	}
	var ok, also bool
	s.Least, ok = readCount(least)
	s.Most, also = readCount(most)
	if !isOpen || !isClosed || !ok || !also || s.Most < s.Least {
		return s, bad
	}
	return s, nil
}

func readCount(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= MaxPath && strconv.Itoa(n) == s
}

// isClass reports whether a text is valid between brackets. A literal hyphen must come last.
func isClass(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case i+2 < len(s) && s[i+1] == '-':
			if !isAlnum(c) || group(c) != group(s[i+2]) || c > s[i+2] {
				return false
			}
			i += 2
		case isAlnum(c), c == '.', c == '_', c == '~':
		case c == '-' && i == len(s)-1:
		default:
			return false
		}
	}
	return true
}

// group distinguishes the three groups of characters that ranges can have.
func group(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return 1
	case 'a' <= c && c <= 'z':
		return 2
	case 'A' <= c && c <= 'Z':
		return 3
	}
	return 0
}

// takes reports whether a Classed variable matches the text.
func (s Segment) takes(text string) bool {
	if len(text) < s.Least || s.Most > 0 && len(text) > s.Most {
		return false
	}
	for i := range len(text) {
		if !inClass(s.Class, text[i]) {
			return false
		}
	}
	return true
}

func inClass(class string, c byte) bool {
	for i := 0; i < len(class); i++ {
		if i+2 < len(class) && class[i+1] == '-' {
			if class[i] <= c && c <= class[i+2] {
				return true
			}
			i += 2
		} else if class[i] == c {
			return true
		}
	}
	return false
}

// String returns the segment as written in a pattern.
func (s Segment) String() string {
	switch s.Kind {
	case Literal:
		return s.Text
	case Rest:
		if s.Text == "" {
			return "*"
		}
		return "{" + s.Text + "...}"
	case Classed:
		return "{" + s.Text + ":" + s.quantified() + "}"
	default:
		return "{" + s.Text + "}"
	}
}

func (s Segment) quantified() string {
	switch s.Most {
	case 0:
		return "[" + s.Class + "]+"
	case s.Least:
		return fmt.Sprintf("[%s]{%d}", s.Class, s.Least)
	}
	return fmt.Sprintf("[%s]{%d,%d}", s.Class, s.Least, s.Most)
}

// String returns the path.
func (p Pattern) String() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte('/')
		b.WriteString(s.String())
	}
	return b.String()
}

// Prefix returns the literal beginning of the path in whole segments, without a trailing slash; "" if it begins with a
// variable.
func (p Pattern) Prefix() string {
	var b strings.Builder
	for _, s := range p {
		if s.Kind != Literal || s.Text == "" {
			break
		}
		b.WriteByte('/')
		b.WriteString(s.Text)
	}
	return b.String()
}

// Shape returns the path without the names of its variables. Patterns of one shape match the same paths.
func (p Pattern) Shape() string {
	unnamed := slices.Clone(p)
	for i := range unnamed {
		if unnamed[i].Kind != Literal {
			unnamed[i].Text = ""
		}
		if unnamed[i].Kind == Classed { // in canonical form
			unnamed[i].Class = unnamed[i].charset().String()
		}
	}
	return unnamed.String()
}

// Match reports whether the pattern matches a path, which must be decoded and normal, and returns the values of its
// variables.
func (p Pattern) Match(path string) (map[string]string, bool) {
	if path == "" || path[0] != '/' {
		return nil, false
	}
	segments := strings.Split(path[1:], "/")
	found := map[string]string{}
	for i, s := range p {
		if s.Kind == Rest {
			if i > 0 && i > len(segments) {
				return nil, false
			}
			found[s.Text] = strings.Join(segments[min(i, len(segments)):], "/")
			return found, true
		}
		if i >= len(segments) {
			return nil, false
		}
		switch is := segments[i]; {
		case s.Kind == Literal && is != s.Text,
			s.Kind == Variable && is == "",
			s.Kind == Classed && !s.takes(is):
			return nil, false
		case s.Kind != Literal:
			found[s.Text] = is
		}
	}
	return found, len(segments) == len(p)
}

// compare orders patterns so that the more specific of two that match the same path comes first, unless they are
// [Pattern.Ambiguous]. It compares segment by segment; a longer pattern comes before its own prefix.
func (p Pattern) compare(o Pattern) int {
	for i := range min(len(p), len(o)) {
		a, b := p[i], o[i]
		if c := cmp.Compare(a.Kind, b.Kind); c != 0 {
			return c
		}
		var c int
		switch a.Kind {
		case Literal:
			c = cmp.Compare(a.Text, b.Text)
		case Classed:
			c = a.compareClass(b)
		}
		if c != 0 {
			return c
		}
	}
	// A pattern that ends here is more specific than one that goes on with a Rest.
	switch {
	case len(p) == len(o)+1 && p[len(o)].Kind == Rest:
		return 1
	case len(o) == len(p)+1 && o[len(p)].Kind == Rest:
		return -1
	}
	return cmp.Compare(len(o), len(p))
}
