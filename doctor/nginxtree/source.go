package nginxtree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// marker precedes each file in the output of nginx -T.
const marker = "# configuration file "

// IsDump reports whether a text is the output of nginx -T. It may begin with a byte order mark, added by an editor or a
// shell.
func IsDump(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte(bom))
	return bytes.HasPrefix(text, []byte(marker)) || bytes.Contains(text, []byte("\n"+marker))
}

// ReadDump parses the output of nginx -T.
func ReadDump(text []byte) (*Tree, error) {
	d := dump{}
	main, name := "", ""
	for rest := strings.TrimPrefix(string(text), bom); rest != ""; {
		var line string
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i+1], rest[i+1:]
		} else {
			line, rest = rest, ""
		}
		if found, ok := strings.CutPrefix(line, marker); ok {
			if found, ok = strings.CutSuffix(strings.TrimRight(found, "\r\n"), ":"); ok {
				name = found
				if main == "" {
					main = name
				}
				d[name] = &strings.Builder{}
				continue
			}
		}
		if name != "" { // before the first file, nginx prints messages
			d[name].WriteString(line)
		}
	}
	if main == "" {
		return nil, fmt.Errorf("it is no output of nginx -T: no line begins with %q", marker)
	}
	return Load(main, d)
}

// dump contains the files in the output of nginx -T, each once.
type dump map[string]*strings.Builder

func (d dump) Read(name string) ([]byte, error) {
	if b := d[name]; b != nil {
		return []byte(b.String()), nil
	}
	return nil, fs.ErrNotExist
}

func (d dump) Glob(pattern string) ([]string, error) {
	var found []string
	for name := range d {
		if Matches(pattern, name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}

// ReadDisk reads the files of this machine, beginning with main.
func ReadDisk(main string) (*Tree, error) {
	abs, err := filepath.Abs(main)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", main, err)
	}
	return Load(abs, disk{})
}

// ReadDiskBut is ReadDisk, but treats files as empty for which skip returns true.
func ReadDiskBut(main string, skip func(name string) bool) (*Tree, error) {
	abs, err := filepath.Abs(main)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", main, err)
	}
	return Load(abs, but{skip: skip})
}

type but struct {
	disk
	skip func(name string) bool
}

func (b but) Read(name string) ([]byte, error) {
	if b.skip(name) {
		return nil, nil
	}
	return b.disk.Read(name)
}

type disk struct{}

func (disk) Read(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// Glob ignores a missing file: nginx's own message is better.
func (disk) Glob(pattern string) ([]string, error) {
	if !IsPattern(pattern) {
		_, err := os.Stat(pattern)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []string{pattern}, err
	}
	found, err := filepath.Glob(pattern)
	return slices.DeleteFunc(found, func(f string) bool { return !Matches(pattern, f) }), err
}
