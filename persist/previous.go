package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// While a new file is checked, the one before it stands beside it as .BASE.previous: a
// hard link where the system allows one, else a copy. Where there was no file it is a
// symbolic link that leads nowhere, which like the others is made in one step. As long
// as it exists the file in place is unchecked, also for whoever comes after a crash.

// noPrevious is where the symbolic link that stands for no file leads.
const noPrevious = "there-was-none"

func (f *File) keepPrevious() error {
	previous := beside(f.path, "previous")
	if f.disk.info == nil {
		return os.Symlink(noPrevious, previous)
	}
	if os.Link(f.path, previous) == nil {
		return nil
	}
	// Not every file system has hard links, and Linux lets nobody link a foreign file.
	text, err := f.sameText()
	if err != nil {
		return err
	}
	t, err := f.writeTemp(f.disk.info, text)
	if err != nil {
		return err
	}
	return os.Rename(t.name, previous)
}

// sameText is the file as it was last seen. Another that was put in its place meanwhile, or a link to one
// that only root may read, is not copied.
func (f *File) sameText() ([]byte, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !unchanged(f.disk.info, info) {
		return nil, errors.Join(err, fmt.Errorf("%s was changed by someone else meanwhile", f.path))
	}
	return io.ReadAll(io.LimitReader(file, maxSize))
}

// putBack ends a check that was not passed, if there is one: the previous file is in
// place again. It reports whether a file had to give way.
func putBack(path string) (bool, error) {
	previous := beside(path, "previous")
	was, err := os.Lstat(previous)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	is, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	there := err == nil
	switch {
	case there && os.SameFile(was, is):
		// The new file never came into place, and a rename of one link of a file onto
		// another does nothing.
		return false, dropPrevious(path)
	case was.Mode().Type() == fs.ModeSymlink:
		if there {
			if err := os.Remove(path); err != nil {
				return false, err
			}
		}
		return there, dropPrevious(path)
	}
	if err := os.Rename(previous, path); err != nil {
		return false, err
	}
	return true, syncFolder(path)
}

// dropPrevious ends a check that was passed.
func dropPrevious(path string) error {
	if err := os.Remove(beside(path, "previous")); err != nil {
		return err
	}
	return syncFolder(path)
}
