package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/setting"
)

// Tables are the tables of a file that is not the daemon's, by name. Each is a pointer to a struct with toml tags that
// holds the defaults. The one named "" has the top-level keys.
type Tables map[string]any

// Read has the positions of the keys in a file.
type Read struct {
	file  string
	lines map[string]int
}

// Read decodes a file into the tables. The error joins all problems, each an [*Error], in order of lines.
func (t Tables) Read(file string) (Read, error) {
	content, err := readFile(file)
	if err != nil {
		return Read{}, err
	}
	doc, lines, err := decode(file, content, t.secrets())
	if err != nil {
		return Read{}, err
	}
	r := Read{file: file, lines: lines}
	var wrong []error
	for name, value := range doc {
		inner, isTable := value.(map[string]any)
		if table, known := t[name]; name != "" && known && isTable {
			for key, value := range inner {
				wrong = append(wrong, r.set(table, value, name, key))
			}
			continue
		}
		if names := t.names(); isTable || slices.Contains(names, name) {
			wrong = append(wrong, r.table(name, isTable, names))
			continue
		}
		wrong = append(wrong, r.set(t[""], value, name))
	}
	wrong = slices.DeleteFunc(wrong, func(err error) bool { return err == nil })
	slices.SortFunc(wrong, func(a, b error) int { return cmp.Compare(r.lineIn(a), r.lineIn(b)) })
	return r, errors.Join(wrong...)
}

// set sets the key at the end of a path to its value.
func (r Read) set(table, value any, path ...string) error {
	key := path[len(path)-1]
	f, has := fieldOf(table, key)
	var problem string
	if has {
		problem = f.set(value)
	} else {
		known := keys(table)
		problem = unknown("key", key, known, "allowed are "+either(known))
	}
	if problem == "" {
		return nil
	}
	return &Error{Where: r.where(path), Key: strings.Join(path, "."), Problem: problem}
}

func (r Read) table(name string, isTable bool, known []string) error {
	problem := fmt.Sprintf("allowed is a table that begins with [%s]", name)
	if isTable {
		problem = unknown("table", name, known, "allowed are the tables "+either(known))
	}
	return &Error{Where: r.where([]string{name}), Key: name, Problem: problem}
}

func (r Read) where(path []string) string { return r.file + ":" + strconv.Itoa(lineOf(r.lines, path)) }

func (r Read) lineIn(err error) int {
	var e *Error
	_ = errors.As(err, &e)
	n, _ := strconv.Atoi(strings.TrimPrefix(e.Where, r.file+":"))
	return n
}

// Has reports whether the file has a key, in the form table.key or key.
func (r Read) Has(path string) bool {
	_, has := r.lines[join(strings.Split(path, "."))]
	return has
}

// Overridden removes a key, because its value is not from the file.
func (r Read) Overridden(path string) { delete(r.lines, join(strings.Split(path, "."))) }

// Locate adds the position in the file to the error for a key, if the file has that key.
func (r Read) Locate(err error) error {
	var wrong *setting.Error
	if !errors.As(err, &wrong) || !r.Has(wrong.Key) {
		return err
	}
	return &Error{Where: r.where(strings.Split(wrong.Key, ".")), Key: wrong.Key, Problem: notAllowed(wrong, false)}
}

func (t Tables) names() []string {
	var all []string
	for name := range t {
		if name != "" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (t Tables) secrets() (all []string) {
	for _, table := range t {
		for _, f := range fields(table) {
			if f.secret() {
				all = append(all, f.key)
			}
		}
	}
	return all
}
