package persist

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"swallowkeeper/internal/safetext"
)

// NewerError reports that another process wrote a generation after our last one. A state derived from an older one must
// not replace it: load the file again and decide again.
type NewerError struct {
	Number int    // of the generation in place
	Writer string // who wrote it
	Ours   int    // last generation of this process
	// Notes reports that the generation is ours, with other notes in its header.
	Notes bool
}

// Error names who wrote what.
func (e *NewerError) Error() string {
	if e.Notes {
		return fmt.Sprintf("another process changed what the header of generation %d says: freezes, what is leaving, or the guard's account", e.Number)
	}
	return fmt.Sprintf("generation %d was written by %s after generation %d of this process", e.Number, e.Writer, e.Ours)
}

// Newer marks the error for the syncer, which does not import this package.
func (e *NewerError) Newer() bool { return true }

// Overtaken returns nil if the file has our state, and a *[NewerError] if another process wrote it later. Any other
// error means that the file's state is unknown. After any error, our state must not be pushed. As long as the file is
// as we left it, Overtaken does not wait for a running Save.
func (f *File) Overtaken() error {
	if left := f.left.Load(); left != nil && f.as(*left) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.read || f.as(f.disk.info) {
		return nil
	}
	c, err := readFile(f.on, f.path)
	switch {
	case err != nil:
		return fmt.Errorf("look whether another process wrote the conf file %w", err)
	case f.last.Number > 0 && (c.info == nil || c.empty):
		return fmt.Errorf("look whether another process wrote the conf file %s: it vanished", f.path)
	}
	return f.outdated(c)
}

// as reports whether the file in place is still the one described by left.
func (f *File) as(left fs.FileInfo) bool {
	info, err := f.folder().Lstat(filepath.Base(f.path))
	return err == nil && unchanged(left, info)
}

// leave publishes the file's info for Overtaken.
func (f *File) leave() {
	info := f.disk.info
	f.left.Store(&info)
}

// outdated returns a *[NewerError] if another process wrote the file in place after our last write or read. An older
// generation is a restored copy, and one whose digest does not match was edited by hand.
func (f *File) outdated(c contents) error {
	if c.Number == 0 || c.edited {
		return nil
	}
	newer := &NewerError{Number: c.Number, Writer: c.Writer, Ours: f.last.Number}
	if f.has(c.Generation) {
		copied := c.Number < f.last.Number || c.Number == f.last.Number && c.Notes > 0 && c.Notes < f.last.Notes
		theirs := notesOf(c.Generation)
		if copied || theirs.same(notesOf(f.last)) || f.tried != nil && theirs.same(*f.tried) {
			return nil
		}
		newer.Notes = c.Number == f.last.Number
		return newer
	}
	foreign := c.Writer != "" && c.Writer != f.writer
	if later := c.Number > f.last.Number || c.Number == f.last.Number && c.Writer != f.last.Writer; foreign && later {
		return newer
	}
	return nil
}

// run identifies this process. Nothing else does if containers choose their hostnames and their process ids start at 1.
var run = rand.Text()[:8]

// writer returns the identity of this process.
func writer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return safetext.OneLine(fmt.Sprintf("%s (process %d, %s)", host, os.Getpid(), run))
}
