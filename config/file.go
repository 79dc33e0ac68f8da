package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

const maxFile = 1 << 20 // bytes

// entry is one key with its value, from wherever, or only a table that is there.
type entry struct {
	place
	key   string // "" is the table itself
	value any    // as the TOML package gives it, or text
	where string
	wrong string // a problem found on the way; the entry is not used
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fileError(path, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return "", fileError(path, err)
	}
	if info.IsDir() {
		return "", &Error{Where: path, Problem: "is a folder; allowed is a file in TOML"}
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", fileError(path, err)
	case len(content) > maxFile:
		problem := fmt.Sprintf("is too big for a configuration; allowed are %d bytes", maxFile)
		return "", &Error{Where: path, Problem: problem}
	}
	return string(content), nil
}

func fileError(path string, err error) *Error {
	var p *fs.PathError
	reason := err
	if errors.As(err, &p) {
		reason = p.Err
	}
	return &Error{Where: path, Problem: fmt.Sprintf("read the configuration: %v", reason), cause: err}
}

// fromFile takes the text of a file apart. The error is about the text as a whole.
func (k Kinds) fromFile(file, content string) ([]entry, error) {
	content = strings.TrimPrefix(content, "\ufeff") // the mark that some editors put before UTF-8
	line := func(n int) string { return file + ":" + strconv.Itoa(n) }
	if i := invalidUTF8(content); i >= 0 {
		return nil, &Error{Where: line(1 + strings.Count(content[:i], "\n")), Problem: "the text is not UTF-8"}
	}
	lines, deep := keyLines(content)
	if deep > 0 {
		problem := fmt.Sprintf("more than %d brackets or dots within one another", maxDepth)
		return nil, &Error{Where: line(deep), Problem: problem}
	}
	var doc map[string]any
	if _, err := toml.Decode(content, &doc); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			at := max(1, syntax.Position.Line)
			return nil, &Error{Where: line(at), Problem: "not TOML: " + k.discreet(syntax.Message, strings.Split(content, "\n")[at-1])}
		}
		return nil, &Error{Where: file, Problem: "not TOML: " + err.Error()}
	}
	r := reader{kinds: k, file: file, lines: lines}
	for name, value := range doc {
		r.section(name, value)
	}
	slices.SortFunc(r.found, func(a, b located) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.n, b.n), cmp.Compare(a.path(a.key), b.path(b.key)))
	})
	entries := make([]entry, len(r.found))
	for i, e := range r.found {
		entries[i] = e.entry
	}
	return entries, nil
}

// words is what a message of the TOML package quotes of the text.
var words = regexp.MustCompile(`"(?:[^"\\]|\\.){2,}"`)

// discreet keeps a message from quoting a secret: what a line says is shown where its key is known to be none.
func (k Kinds) discreet(message, line string) string {
	key, _, isPair := strings.Cut(line, "=")
	path := strings.Split(strings.Trim(strings.TrimSpace(key), `"'`), ".")
	if isPair && !slices.Contains(k.secrets(), path[len(path)-1]) {
		return message
	}
	return words.ReplaceAllString(message, `"…"`)
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

type located struct {
	entry
	line int
}

// reader turns the decoded file into entries.
type reader struct {
	kinds Kinds
	file  string
	lines map[string]int
	found []located
}

func (r *reader) add(e entry, path ...string) {
	line := r.line(path)
	e.where = r.file + ":" + strconv.Itoa(line)
	r.found = append(r.found, located{e, line})
}

// line is where the path stands, or the nearest table around it.
func (r *reader) line(path []string) int {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if n, ok := r.lines[join(path)]; ok {
			return n
		}
	}
	return 1
}

func (r *reader) section(name string, value any) {
	at := place{section: name}
	s, known := r.kinds.find(name)
	table, isTable := value.(map[string]any)
	list, isList := tableList(value)
	switch {
	case !known:
		r.add(entry{place: at, wrong: r.kinds.unknownTop(name, value)}, name)
	case s.list && isList:
		for i, t := range list {
			r.table(s, place{section: name, n: i + 1}, t, name, index(i+1))
		}
	case !s.list && isTable:
		r.table(s, at, table, name)
	default:
		wrong := fmt.Sprintf("found %s; allowed is a table that begins with %s", describe(value), s.header())
		r.add(entry{place: at, wrong: wrong}, name)
	}
}

func (r *reader) table(s section, at place, table map[string]any, path ...string) {
	r.add(entry{place: at}, path...)
	for key, value := range table {
		sub := append(slices.Clip(path), key)
		if inner, isTable := value.(map[string]any); isTable && s.named && !at.inside {
			r.table(s, place{section: at.section, name: key, inside: true}, inner, sub...)
			continue
		}
		r.add(entry{place: at, key: key, value: value}, sub...)
	}
}

func (k Kinds) unknownTop(name string, value any) string {
	var names []string
	for _, s := range k.sections() {
		names = append(names, s.name)
	}
	hint := "allowed are the tables " + either(names)
	switch value.(type) {
	case map[string]any, []map[string]any:
		return unknown("table", name, names, hint)
	}
	if path := k.elsewhere(name); path != "" {
		return "the key stands in no table; did you mean " + path + "?"
	}
	return unknown("key", name, names, hint)
}

// tableList takes the lists of tables, also those written in one line.
func tableList(value any) ([]map[string]any, bool) {
	switch v := value.(type) {
	case []map[string]any:
		return v, true
	case []any:
		list := make([]map[string]any, len(v))
		for i, item := range v {
			t, ok := item.(map[string]any)
			if !ok {
				return nil, false
			}
			list[i] = t
		}
		return list, true
	}
	return nil, false
}
