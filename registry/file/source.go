package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
)

// Bounds of what is read.
const (
	maxFile  = 8 << 20  // bytes of one file
	maxAll   = 32 << 20 // bytes of all files of a folder
	maxFiles = 1000
)

var errBeingWritten = errors.New("it is written all the time: it was never the same twice")

// source is the text of one file.
type source struct {
	path string
	text []byte
	mode fs.FileMode
}

func (s source) same(o source) bool { return s.path == o.path && bytes.Equal(s.text, o.text) }

func (s source) base() string { return filepath.Base(s.path) }

// collect reads the file, or all files of the folder, in order of their names.
func collect(path string) ([]source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		if !known(path) {
			return nil, fmt.Errorf("%s: it is called neither *.toml nor *.json", path)
		}
		s, err := readFile(path, maxFile)
		if err != nil {
			return nil, err
		}
		return []source{s}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var all []source
	left := maxAll
	for _, e := range entries {
		// ..data and the like are how Kubernetes replaces all files at once, and editors write hidden files.
		if strings.HasPrefix(e.Name(), ".") || !known(e.Name()) {
			continue
		}
		if len(all) == maxFiles {
			return nil, fmt.Errorf("%s: it has more than %d files", path, maxFiles)
		}
		s, err := readFile(filepath.Join(path, e.Name()), min(left, maxFile))
		if err != nil {
			return nil, err
		}
		left -= len(s.text)
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: it has no file *.toml or *.json; a registry without upstreams says so by a file with upstream = []", path)
	}
	return all, nil
}

func known(name string) bool {
	return strings.HasSuffix(name, ".toml") || strings.HasSuffix(name, ".json")
}

func readFile(path string, most int) (source, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe does not keep us
	if err != nil {
		return source{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return source{}, err
	}
	if !info.Mode().IsRegular() {
		return source{}, fmt.Errorf("%s: it is no file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return source{}, err
	case len(text) > most:
		return source{}, fmt.Errorf("%s: it is too big: allowed are %d MB for one file and %d MB for all", path, maxFile>>20, maxAll>>20)
	}
	return source{path: path, text: text, mode: info.Mode()}, nil
}

// open finds the files that everybody may write.
func open(sources []source) (found []finding.Finding) {
	for _, s := range sources {
		if s.mode.Perm()&0o002 != 0 {
			found = append(found, finding.Finding{
				Check: "file-writable", Severity: finding.Problem,
				What:   "Everybody on this machine may write " + safetext.Quote(s.path),
				Why:    "Whoever writes it steers the traffic: any request can be sent to any server.",
				Change: "chmod o-w " + s.path,
			})
		}
	}
	return found
}
