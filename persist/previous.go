package persist

import (
	"errors"
	"io/fs"
	"os"
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
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	t, err := f.writeTemp(f.disk.info, text)
	if err != nil {
		return err
	}
	return os.Rename(t.name, previous)
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
