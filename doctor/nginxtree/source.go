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

// marker stands before each file in the output of nginx -T.
const marker = "# configuration file "

// IsDump reports whether a text is what nginx -T prints. An editor or a shell that stored it
// may have put a byte order mark before it.
func IsDump(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte(bom))
	return bytes.HasPrefix(text, []byte(marker)) || bytes.Contains(text, []byte("\n"+marker))
}

// ReadDump reads what nginx -T prints.
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
		if name != "" { // what stands before the first file is nginx's own talk
			d[name].WriteString(line)
		}
	}
	if main == "" {
		return nil, fmt.Errorf("it is no output of nginx -T: no line begins with %q", marker)
	}
	return Load(main, d)
}

// dump is the files of a text that nginx -T printed. It prints each once.
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

// ReadDiskBut is ReadDisk, and takes the files for which skip says yes for empty.
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
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would keep us waiting
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

// Glob leaves out a file that is not there: nginx itself says so better.
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
