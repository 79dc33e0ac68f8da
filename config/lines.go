package config

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// maxDepth limits the dots in a key and the nesting of brackets in a value; our own files need three. Without a limit,
// a file of only brackets would exhaust the memory.
const maxDepth = 20

// keyLines finds the line of each key and table, which the TOML package does not export. If the text is not valid TOML,
// it ends early. deep is the line where something exceeds maxDepth, or 0.
func keyLines(content string) (lines map[string]int, deep int) {
	k := scan{text: []byte(content), line: 1, lines: map[string]int{}, count: map[string]int{}}
	k.parser.Reset(k.text)
	var table []string
	for k.deep == 0 && k.parser.NextExpression() {
		switch e := k.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = k.enter(e)
		default:
			k.pair(table, e)
		}
	}
	// The parser gives up after some thousand brackets; the TOML package does not.
	var stop *unstable.ParserError
	if errors.As(k.parser.Error(), &stop) {
		at := k.parser.Range(stop.Highlight).Offset
		if open := k.text[:at]; bytes.Count(open, []byte("["))+bytes.Count(open, []byte("{")) > 100*maxDepth {
			k.tooDeep(k.lineAt(at))
		}
	}
	return k.lines, k.deep
}

// join turns a path into a map key; index is the path element of a list's n-th element.
func join(path []string) string { return strings.Join(path, "\x00") }

func index(n int) string { return "#" + strconv.Itoa(n) }

type scan struct {
	parser  unstable.Parser
	text    []byte
	line    int    // line at offset counted
	counted uint32 // offsets are asked for in increasing order
	lines   map[string]int
	count   map[string]int // elements of each [[list]] so far
	deep    int
}

func (k *scan) lineAt(offset uint32) int {
	if offset > k.counted {
		k.line += bytes.Count(k.text[k.counted:offset], []byte("\n"))
		k.counted = offset
	}
	return k.line
}

func (k *scan) tooDeep(line int) {
	if k.deep == 0 {
		k.deep = line
	}
}

func (k *scan) record(path []string, line int) {
	if key := join(path); k.lines[key] == 0 {
		k.lines[key] = line
	}
}

// key returns the dotted key of a table or pair, and its line.
func (k *scan) key(e *unstable.Node) (path []string, line int) {
	for part := e.Key(); part.Next(); {
		line = k.lineAt(part.Node().Raw.Offset)
		path = append(path, string(part.Node().Data))
	}
	if len(path) > maxDepth {
		k.tooDeep(line)
	}
	return path, line
}

// enter returns the path of a table's header. Within a list, it leads to the last element.
func (k *scan) enter(e *unstable.Node) []string {
	key, line := k.key(e)
	var path []string
	for i, part := range key {
		path = append(path, part)
		id := join(path)
		if e.Kind == unstable.ArrayTable && i == len(key)-1 {
			k.count[id]++
			k.record(path, line)
		}
		if n := k.count[id]; n > 0 {
			path = append(path, index(n))
		}
	}
	k.record(path, line)
	return path
}

func (k *scan) pair(table []string, e *unstable.Node) {
	key, line := k.key(e)
	path := append(table[:len(table):len(table)], key...)
	k.record(path, line)
	k.value(path, e.Value(), 1, line)
}

// value finds the keys within a value that begins on the given line.
func (k *scan) value(path []string, v *unstable.Node, depth, line int) {
	if depth > maxDepth {
		k.tooDeep(line)
		return
	}
	n := 0
	for child := v.Children(); child.Next(); n++ {
		switch c := child.Node(); v.Kind {
		case unstable.InlineTable:
			key, at := k.key(c)
			inner := append(path[:len(path):len(path)], key...)
			k.record(inner, at)
			k.value(inner, c.Value(), depth+1, at)
		default:
			k.value(append(path[:len(path):len(path)], index(n+1)), c, depth+1, line)
		}
	}
}
