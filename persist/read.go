package persist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
)

// maxSize limits how much is read, far above any file that Save writes.
const maxSize = 256 << 20

// Read returns what the file at path holds, as [File.Load] does, but takes no lock and changes nothing. edited reports
// whether the file is not as it was last written.
func Read(path string) (g generation.Generation, edited bool, err error) {
	c, err := readFile(machine{}, path)
	if err != nil {
		return generation.Generation{}, false, fmt.Errorf("read the conf file %w", mendable(machine{}, path, err))
	}
	return c.Generation, c.edited, nil
}

type contents struct {
	generation.Generation
	info   fs.FileInfo // nil: there is no file
	empty  bool        // only blanks: a file someone touched so that nginx's include finds it
	edited bool

	shards  int      // number of shards; 0: a single file
	short   bool     // in the form for the history
	layout  *layout  // nil: a single file, or not as we would write it
	journal *journal // nil: the notes are in the file
	lost    error    // why some notes can't be read
}

func (c contents) disk() disk {
	return disk{
		info: c.info, digest: c.Digest, notes: notesOf(c.Generation), intact: c.Number > 0 && !c.edited && !c.short && c.lost == nil,
		layout: c.layout, journal: c.journal,
	}
}

// readFile reads a file. The info is valid even with an error that wraps errDamaged.
func readFile(on System, path string) (c contents, err error) {
	const tries = 5
	for range tries {
		// Check for a regular file only once it is open, or it could be swapped in between. Opening must not block on a
		// pipe.
		file, failed := folderOf(on, path).OpenFile(filepath.Base(path), os.O_RDONLY|unix.O_NONBLOCK, 0)
		from := newShardReader(on, path)
		c, err = readOpened(path, from, file, failed)
		from.close()
		if !errors.Is(err, errMissing) && c.lost == nil {
			break
		}
		// The file may have been replaced meanwhile, and the shards that the old one named removed.
		if is, failed := folderOf(on, path).Lstat(filepath.Base(path)); failed != nil || unchanged(c.info, is) {
			break
		}
	}
	return c, err
}

// readOpened reads and closes the file opened at path.
func readOpened(path string, from *shardReader, file Handle, err error) (contents, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return contents{}, nil
	}
	text, info, err := readAll(file, err)
	if err != nil {
		return contents{}, fmt.Errorf("%s: %w", path, err)
	}
	c := contents{info: info}
	if len(bytes.TrimSpace(text)) == 0 {
		c.empty = true
		return c, nil
	}
	if blank(text) { // after a power cut
		return c, fmt.Errorf("%s: %w", path, errBlank)
	}
	if c, err = parse(text, from); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	c.info = info
	return c, err
}

// readAll reads and closes an open file.
func readAll(file Handle, err error) ([]byte, fs.FileInfo, error) {
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EOPNOTSUPP): // a socket
		return nil, nil, errNotRegular
	case err != nil:
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, nil, err
	case !info.Mode().IsRegular():
		return nil, nil, errNotRegular
	case info.Size() > maxSize:
		return nil, nil, fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), maxSize)
	}
	var text bytes.Buffer
	text.Grow(int(info.Size()) + bytes.MinRead)
	if _, err := text.ReadFrom(io.LimitReader(file, maxSize)); err != nil {
		return nil, nil, err
	}
	return text.Bytes(), info, nil
}

var errNotRegular = errors.New("it is no regular file")
