package persist

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"swallowkeeper/internal/safetext"
)

// NewerError says that the file has a generation that another process wrote after our last one. A state that
// was made of an older one must not replace it: load the file again, and decide anew.
type NewerError struct {
	Number int    // of the generation that is there
	Writer string // who wrote it
	Ours   int    // the last generation of this process
}

// Error says who wrote what.
func (e *NewerError) Error() string {
	return fmt.Sprintf("generation %d was written by %s after generation %d of this process", e.Number, e.Writer, e.Ours)
}

// Newer reports that it is such an error: the syncer does not know this package.
func (e *NewerError) Newer() bool { return true }

// Overtaken is nil unless another process wrote the file after our last generation: then it is a *[NewerError], and
// what we have must not reach a gateway any more. While the file is as we left it, it waits for no Save.
func (f *File) Overtaken() error {
	if left := f.left.Load(); left != nil && f.as(*left) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.read || f.as(f.disk.info) {
		return nil
	}
	if c, err := readFile(f.on, f.path); err == nil && f.outdates(c) {
		return &NewerError{Number: c.Number, Writer: c.Writer, Ours: f.last.Number}
	}
	return nil
}

// as reports whether the file in place is still this one.
func (f *File) as(left fs.FileInfo) bool {
	info, err := f.folder().Lstat(filepath.Base(f.path))
	return err == nil && unchanged(left, info)
}

// leave notes how the file is left, for who asks meanwhile.
func (f *File) leave() {
	info := f.disk.info
	f.left.Store(&info)
}

// outdates reports whether what is in place was written by another process, and not before our last
// generation, which may be that process's too. An older one is a copy that somebody brought back.
func (f *File) outdates(c contents) bool {
	foreign := c.Writer != "" && c.Writer != f.writer
	later := c.Number > f.last.Number || c.Number == f.last.Number && c.Writer != f.last.Writer
	return foreign && later && !c.edited && c.Digest != f.last.Digest
}

// writer names this process.
func writer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return safetext.OneLine(fmt.Sprintf("%s (process %d)", host, os.Getpid()))
}
