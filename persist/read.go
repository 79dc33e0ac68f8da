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

	"swallowkeeper/upstream"
)

// maxSize bounds what is read, far above any file that Save writes.
const maxSize = 256 << 20

// Read returns what the file at path holds, without a lock and without touching
// anything, as [File.Load] does. edited says that it is not what was last written.
func Read(path string) (g upstream.Generation, edited bool, err error) {
	c, err := readFile(machine{}, path)
	if err != nil {
		return upstream.Generation{}, false, fmt.Errorf("read the conf file %w", mendable(machine{}, path, err))
	}
	return c.Generation, c.edited, nil
}

type contents struct {
	upstream.Generation
	info   fs.FileInfo // nil: there is no file
	empty  bool        // nothing but blanks: a touch, so that nginx's include finds it
	edited bool
}

func (c contents) disk() disk {
	return disk{
		info: c.info, digest: c.Digest, leaving: c.Leaving, pushing: c.Pushing, others: c.Strangers, frozen: c.Frozen,
		guard: c.Guard, intact: c.Number > 0 && !c.edited,
	}
}

// readFile reads a file. With an error that wraps errDamaged its info holds.
func readFile(on System, path string) (contents, error) {
	// What is no regular file is found out after it is open, or it may be swapped in between. A pipe
	// must not hang us meanwhile.
	file, err := folderOf(on, path).OpenFile(filepath.Base(path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	return readOpened(path, file, err)
}

// readOpened reads what was opened at path, and closes it.
func readOpened(path string, file Handle, err error) (contents, error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return contents{}, nil
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EOPNOTSUPP): // a socket
		return contents{}, fmt.Errorf("%s: it is no regular file", path)
	case err != nil:
		return contents{}, fmt.Errorf("%s: %w", path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return contents{}, fmt.Errorf("%s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return contents{}, fmt.Errorf("%s: it is no regular file", path)
	}
	if info.Size() > maxSize {
		return contents{}, fmt.Errorf("%s: it has %d bytes, at most %d are read", path, info.Size(), maxSize)
	}
	var text bytes.Buffer
	text.Grow(int(info.Size()) + bytes.MinRead)
	if _, err := text.ReadFrom(io.LimitReader(file, maxSize)); err != nil {
		return contents{}, fmt.Errorf("%s: %w", path, err)
	}
	c := contents{info: info}
	if len(bytes.TrimSpace(text.Bytes())) == 0 {
		c.empty = true
		return c, nil
	}
	if blank(text.Bytes()) { // as after a power cut
		return c, fmt.Errorf("%s: %w", path, errBlank)
	}
	if c.Generation, c.edited, err = parse(text.Bytes()); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}
