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

// entry is a key with its value from any source, or a table that exists.
type entry struct {
	place
	key   string // "": the table itself
	value any    // as decoded from TOML, or text
	where string
	wrong string // a problem found on the way; the value is not used
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

// fromFile converts the text of a file to entries. Its error is about the file as a whole.
func (k Kinds) fromFile(file, content string) ([]entry, error) {
	doc, lines, err := decode(file, content, k.secrets())
	if err != nil {
		return nil, err
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

// decode decodes TOML, and finds the line of each path.
func decode(file, content string, secrets []string) (doc map[string]any, lines map[string]int, err error) {
	content = strings.TrimPrefix(content, "\ufeff") // the byte order mark that some editors write
	line := func(n int) string { return file + ":" + strconv.Itoa(n) }
	if i := invalidUTF8(content); i >= 0 {
		return nil, nil, &Error{Where: line(1 + strings.Count(content[:i], "\n")), Problem: "the text is not UTF-8"}
	}
	lines, deep := keyLines(content)
	if deep > 0 {
		problem := fmt.Sprintf("more than %d brackets or dots within one another", maxDepth)
		return nil, nil, &Error{Where: line(deep), Problem: problem}
	}
	if _, err := toml.Decode(content, &doc); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			at := max(1, syntax.Position.Line)
			return nil, nil, &Error{Where: line(at), Problem: "not TOML: " + discreet(syntax.Message, strings.Split(content, "\n")[at-1], secrets)}
		}
		return nil, nil, &Error{Where: file, Problem: "not TOML: " + err.Error()}
	}
	return doc, lines, nil
}

// words matches what a message of the TOML package quotes from the file.
var words = regexp.MustCompile(`"(?:[^"\\]|\\.){2,}"`)

// discreet removes quotes from a message unless the line's key is known not to be a secret.
func discreet(message, line string, secrets []string) string {
	key, _, isPair := strings.Cut(line, "=")
	path := strings.Split(strings.Trim(strings.TrimSpace(key), `"'`), ".")
	if isPair && !slices.Contains(secrets, path[len(path)-1]) {
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

// reader converts the decoded file to entries.
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

func (r *reader) line(path []string) int { return lineOf(r.lines, path) }

// lineOf returns the line of a path, or of the nearest table around it.
func lineOf(lines map[string]int, path []string) int {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if n, ok := lines[join(path)]; ok {
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
		inner, isTable := value.(map[string]any)
		switch {
		case isTable && s.named && !at.inside:
			r.table(s, place{section: at.section, name: key, inside: true}, inner, sub...)
			continue
		case isTable && !at.inside && slices.Contains(r.kinds.innerKeys(s.name), key):
			r.inner(s, at, key, inner, sub)
			continue
		}
		r.add(entry{place: at, key: key, value: value}, sub...)
	}
}

// inner reads the named tables under a key.
func (r *reader) inner(s section, at place, key string, all map[string]any, path []string) {
	for name, value := range all {
		in, sub := at, append(slices.Clip(path), name)
		in.under, in.name, in.inside = key, name, true
		if t, isTable := value.(map[string]any); isTable {
			r.table(s, in, t, sub...)
			continue
		}
		wrong := fmt.Sprintf("found %s; allowed is a table that begins with [%s.%s.NAME]", describe(value), s.name, key)
		r.add(entry{place: in, wrong: wrong}, sub...)
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

// tableList returns a list of tables, also if it is written inline.
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
