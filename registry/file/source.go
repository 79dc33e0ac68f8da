package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
)

// Limits of what is read.
const (
	maxFile  = 8 << 20  // bytes of one file
	maxAll   = 32 << 20 // bytes of all files of a folder
	maxFiles = 1000
)

var errBeingWritten = errors.New("it is written all the time: it was never the same twice")

// source is the text of a file.
type source struct {
	path string
	text []byte
	mode fs.FileMode
	// touched is the modification time.
	touched time.Time
}

func (s source) same(o source) bool { return s.path == o.path && bytes.Equal(s.text, o.text) }

func (s source) base() string { return filepath.Base(s.path) }

// reading is the state of all files, sorted by name.
type reading struct {
	files []source
	// touched is the last modification in a folder whose files are replaced one by one; zero otherwise.
	touched time.Time
}

func (r reading) same(o reading) bool { return slices.EqualFunc(r.files, o.files, source.same) }

// settled reports whether a folder has settled. A modification time in the future is ignored.
func (r reading) settled() bool {
	age := time.Since(r.touched)
	return r.touched.IsZero() || age < 0 || age >= quiet
}

// collect reads the file, or all files of the folder.
func collect(path string) (r reading, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	if !info.IsDir() {
		if !known(path) {
			return r, fmt.Errorf("%s: it is called neither *.toml nor *.json", path)
		}
		s, err := readFile(path, maxFile)
		r.files = []source{s}
		return r, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return r, err
	}
	r.touched = info.ModTime()
	left, atOnce := maxAll, false
	for _, e := range entries {
		atOnce = atOnce || e.Name() == "..data"
		if info, err := e.Info(); err == nil && rsyncs.MatchString(e.Name()) && time.Since(info.ModTime()) < mostWait {
			r.touched = time.Now()
		}
		// Kubernetes replaces all files at once through ..data and similar names, and editors write hidden files.
		if strings.HasPrefix(e.Name(), ".") || !known(e.Name()) {
			continue
		}
		if len(r.files) == maxFiles {
			return r, fmt.Errorf("%s: it has more than %d files", path, maxFiles)
		}
		s, err := readFile(filepath.Join(path, e.Name()), min(left, maxFile))
		if err != nil {
			return r, err
		}
		left -= len(s.text)
		r.files = append(r.files, s)
		if s.touched.After(r.touched) {
			r.touched = s.touched
		}
	}
	if atOnce {
		r.touched = time.Time{}
	}
	if len(r.files) == 0 {
		return r, fmt.Errorf("%s: it has no file *.toml or *.json; a registry without upstreams says so by a file with upstream = []", path)
	}
	return r, nil
}

// rsyncs matches the temporary files that rsync writes and then renames.
var rsyncs = regexp.MustCompile(`^\..+\.(toml|json)\.[A-Za-z0-9]{6}$`)

func known(name string) bool {
	return strings.HasSuffix(name, ".toml") || strings.HasSuffix(name, ".json")
}

func readFile(path string, most int) (source, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // must not block on a pipe
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
	return source{path: path, text: text, mode: info.Mode(), touched: info.ModTime()}, nil
}

// open returns findings for files that everyone can write.
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
