package persist

import (
	"fmt"
	"os"
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

// outdates reports whether what is in place was written by another process, and not before our last
// generation. An older one is a copy that somebody brought back.
func (f *File) outdates(c contents) bool {
	foreign := c.Writer != "" && c.Writer != f.writer && c.Writer != f.last.Writer
	return foreign && !c.edited && c.Number >= f.last.Number && c.Digest != f.last.Digest
}

// writer names this process.
func writer() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return oneLine(fmt.Sprintf("%s (process %d)", host, os.Getpid()))
}
