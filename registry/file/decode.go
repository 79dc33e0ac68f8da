package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"swallowkeeper/internal/near"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/internal/setting"
)

// document is a whole file. Upstream is nil if the file does not mention upstreams, which is not the same as having
// none: a truncated file does not mention them.
type document struct {
	Upstream *[]entry `json:"upstream" toml:"upstream"`
}

// entry is an upstream as written. Defaults are from [upstream] and [upstream.NAME].
type entry struct {
	Name      string   `json:"name" toml:"name"`
	Method    *string  `json:"method" toml:"method"`
	Keepalive *int     `json:"keepalive" toml:"keepalive"`
	Servers   []server `json:"servers" toml:"servers"`
	// Routes have the form HOST/PATH, optionally with options after it.
	Routes []string `json:"routes" toml:"routes"`
}

type server struct {
	Address     string    `json:"address" toml:"address"`
	Weight      *int      `json:"weight" toml:"weight"`
	MaxFails    *int      `json:"max_fails" toml:"max_fails"`
	FailTimeout *duration `json:"fail_timeout" toml:"fail_timeout"`
	MaxConns    *int      `json:"max_conns" toml:"max_conns"`
	Backup      bool      `json:"backup" toml:"backup"`
	Healthy     *bool     `json:"healthy" toml:"healthy"`
}

// duration is written as "10s".
type duration struct{ time.Duration }

// UnmarshalText accepts the same as setting.ParseDuration.
func (d *duration) UnmarshalText(text []byte) error {
	v, err := setting.ParseDuration(string(text))
	if err != nil {
		return errors.New(`allowed is a duration such as "10s"`)
	}
	d.Duration = v
	return nil
}

// decode decodes a file. Its error names the file and the line.
func (s source) decode() ([]entry, error) {
	var d document
	decode := decodeTOML
	if strings.HasSuffix(s.path, ".json") {
		decode = decodeJSON
	}
	line, err := decode(s.text, &d)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", s.path, max(line, 1), err)
	}
	if d.Upstream == nil {
		return nil, fmt.Errorf("%s:1: it names no upstream; one that has none says upstream = []", s.path)
	}
	for i, e := range *d.Upstream {
		if e.Name == "" {
			return nil, fmt.Errorf("%s: upstream %d has no name", s.path, i+1)
		}
	}
	return *d.Upstream, nil
}

func decodeTOML(text []byte, d *document) (line int, err error) {
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(d)
	var unknown *toml.StrictMissingError
	var wrong *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		first := unknown.Errors[0]
		line, _ = first.Position()
		return line, unknownKey(first.Key(), tables()[min(len(first.Key()), len(tables()))-1])
	case errors.As(err, &wrong):
		line, _ = wrong.Position()
		return line, fmt.Errorf("%s%s", at(wrong.Key()), plain(wrong.Error()))
	}
	return 0, err
}

// structs matches the part of a message that mentions Go types.
var structs = regexp.MustCompile(` into (struct field|a Go|Go) .*$`)

func plain(message string) string {
	return structs.ReplaceAllString(strings.TrimPrefix(message, "toml: "), " there")
}

func at(key []string) string {
	if len(key) == 0 {
		return ""
	}
	return safetext.Quote(strings.Join(key, ".")) + ": "
}

var unknownField = regexp.MustCompile(`^json: unknown field (".*")$`)

func decodeJSON(text []byte, d *document) (line int, err error) {
	from := json.NewDecoder(bytes.NewReader(text))
	from.DisallowUnknownFields()
	if err = from.Decode(d); err == nil {
		if _, err = from.Token(); errors.Is(err, io.EOF) {
			return 0, nil
		}
		return lineOf(text, from.InputOffset()), errors.New("there is more behind the end")
	}
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return lineOf(text, syntax.Offset), fmt.Errorf("not JSON: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return lineOf(text, int64(len(text))), errors.New("not JSON: it ends too early")
	case errors.As(err, &wrong):
		return lineOf(text, wrong.Offset), fmt.Errorf("%q: a %s is not allowed there", wrong.Field, wrong.Value)
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return lineOf(text, int64(bytes.Index(text, []byte(m[1])))), unknownKey([]string{strings.Trim(m[1], `"`)}, tables()...)
	}
	return 0, err
}

// unknownKey suggests the intended key, or lists the keys of the table if that is known.
func unknownKey(path []string, tables ...reflect.Type) error {
	var known []string
	for _, table := range tables {
		for i := range table.NumField() {
			known = append(known, table.Field(i).Tag.Get("toml"))
		}
	}
	hint := ""
	if meant := near.Word(path[len(path)-1], known); meant != "" {
		hint = "; did you mean " + meant + "?"
	} else if len(tables) == 1 {
		hint = "; allowed are " + strings.Join(known, ", ")
	}
	return fmt.Errorf("unknown key %s%s", safetext.Quote(strings.Join(path, ".")), hint)
}

// tables returns the types of a file's tables, each nested in the one before.
func tables() []reflect.Type {
	return []reflect.Type{reflect.TypeFor[document](), reflect.TypeFor[entry](), reflect.TypeFor[server]()}
}

func lineOf(text []byte, offset int64) int {
	return 1 + bytes.Count(text[:min(max(int(offset), 0), len(text))], []byte("\n"))
}
