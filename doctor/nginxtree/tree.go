// Package nginxtree reads a whole nginx configuration into one tree of directives, each
// with its file and line: from what `nginx -T` prints, or from the files themselves. It
// knows no directive but include and Lua blocks, judges nothing and changes nothing.
package nginxtree

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// Directive is one directive with what stands in its braces. Includes stand where they
// are written, and what they include stands behind them as if it were written there.
type Directive struct {
	File string
	Line int
	// Args are its words, the name first, without quotes.
	Args []string
	// Block is what stands in its braces; HasBlock tells an empty block from none.
	Block    []*Directive
	HasBlock bool
	// Lua is the text of a …_by_lua_block.
	Lua string
	// Parent is the block that it stands in, nil at the top.
	Parent *Directive
}

// Name is the first word.
func (d *Directive) Name() string { return d.Args[0] }

// Where is file:line.
func (d *Directive) Where() string { return fmt.Sprintf("%s:%d", d.File, d.Line) }

// String is the directive as it could be written, without what stands in its block.
func (d *Directive) String() string {
	words := make([]string, len(d.Args))
	for i, a := range d.Args {
		words[i] = quoted(a)
	}
	end := ";"
	if d.HasBlock {
		end = " {"
	}
	return strings.Join(words, " ") + end
}

func quoted(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\r\n;{}\"'#\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// Path is the names of the blocks around it, the outermost first.
func (d *Directive) Path() []string {
	var names []string
	for p := d.Parent; p != nil; p = p.Parent {
		names = append([]string{p.Name()}, names...)
	}
	return names
}

// Include is an include directive and what it brought in.
type Include struct {
	At      *Directive
	Pattern string   // absolute
	Files   []string // that were found
}

// Tree is a whole configuration.
type Tree struct {
	Main     string
	Top      []*Directive
	Includes []Include
	// First is the first line of each file that was read.
	First map[string]string
	// BOM names the files that begin with a byte order mark. nginx takes it for a part of
	// the first word and refuses the file; the tree is read as if the mark were gone.
	BOM []string
}

// bom is what some editors write at the beginning of a file.
const bom = "\ufeff"

// Walk calls f for every directive, in the order in which nginx reads them.
func (t *Tree) Walk(f func(*Directive)) { walk(t.Top, f) }

func walk(list []*Directive, f func(*Directive)) {
	for _, d := range list {
		f(d)
		walk(d.Block, f)
	}
}

// Source is where the files come from.
type Source interface {
	Read(name string) ([]byte, error)
	// Glob is the files that match an absolute pattern, in order.
	Glob(pattern string) ([]string, error)
}

// Bounds of what is read, far above what anybody writes by hand.
const (
	maxFiles = 20_000
	maxDepth = 64
	maxBytes = 256 << 20
)

// Load reads a configuration that begins in the file main.
func Load(main string, from Source) (*Tree, error) {
	l := loader{from: from, tree: &Tree{Main: main, First: map[string]string{}}}
	top, err := l.file(main, nil, 0)
	if err != nil {
		return nil, err
	}
	l.tree.Top = top
	return l.tree, nil
}

type loader struct {
	from         Source
	tree         *Tree
	files, bytes int
}

func (l *loader) file(name string, parent *Directive, depth int) ([]*Directive, error) {
	text, err := l.from.Read(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	l.files, l.bytes = l.files+1, l.bytes+len(text)
	if l.files > maxFiles || l.bytes > maxBytes || depth > maxDepth {
		return nil, fmt.Errorf("%s: the includes have no end", name)
	}
	if rest, found := bytes.CutPrefix(text, []byte(bom)); found {
		l.tree.BOM = append(l.tree.BOM, name)
		text = rest
	}
	first, _, _ := strings.Cut(string(text[:min(len(text), 256)]), "\n")
	l.tree.First[name] = first
	list, err := Parse(name, text)
	if err != nil {
		return nil, err
	}
	return l.expand(list, parent, depth)
}

// expand puts behind each include what it includes, and tells each directive its block.
func (l *loader) expand(list []*Directive, parent *Directive, depth int) ([]*Directive, error) {
	var all []*Directive
	for _, d := range list {
		d.Parent = parent
		all = append(all, d)
		if d.HasBlock {
			block, err := l.expand(d.Block, d, depth)
			if err != nil {
				return nil, err
			}
			d.Block = block
			continue
		}
		if d.Name() != "include" || len(d.Args) != 2 {
			continue
		}
		pattern := d.Args[1]
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(l.tree.Main), pattern)
		}
		files, err := l.from.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: include %s: %w", d.Where(), pattern, err)
		}
		l.tree.Includes = append(l.tree.Includes, Include{At: d, Pattern: pattern, Files: files})
		for _, f := range files {
			included, err := l.file(f, parent, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, included...)
		}
	}
	return all, nil
}

// Matches reports whether an include with this pattern would read the file.
func Matches(pattern, file string) bool {
	ok, err := path.Match(pattern, file)
	if err != nil || !ok {
		return path.Clean(pattern) == path.Clean(file)
	}
	// As in a shell a file that begins with a dot has to be asked for.
	return !strings.HasPrefix(path.Base(file), ".") || strings.HasPrefix(path.Base(pattern), ".")
}

// IsPattern reports whether nginx takes it for a pattern, which may match nothing, and not for
// the name of a file that must be there.
func IsPattern(s string) bool { return strings.ContainsAny(s, "*?[") }
