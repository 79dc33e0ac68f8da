package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// While a new file is checked, the one before it stands beside it as .BASE.previous: a
// hard link where the system allows one, else a copy. Where there was no file it is a
// symbolic link that leads nowhere, which like the others is made in one step. As long
// as it exists the file in place is unchecked, also for whoever comes after a crash.

// noPrevious is where the symbolic link that stands for no file leads.
const noPrevious = "there-was-none"

func (f *File) keepPrevious() error {
	dir, previous := f.folder(), f.name("previous")
	if f.disk.info == nil {
		return dir.Symlink(noPrevious, previous)
	}
	if dir.Link(filepath.Base(f.path), previous) == nil {
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
	return dir.Rename(t.name, previous)
}

// sameText is the file as it was last seen. Another that was put in its place meanwhile, or a link to one
// that only root may read, is not copied.
func (f *File) sameText() ([]byte, error) {
	file, err := f.folder().OpenFile(filepath.Base(f.path), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
func putBack(on System, path string) (bool, error) {
	dir, name, previous := folderOf(on, path), filepath.Base(path), filepath.Base(beside(path, "previous"))
	was, err := dir.Lstat(previous)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	is, err := dir.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	there := err == nil
	switch {
	case there && sameFile(was, is):
		// The new file never came into place, and a rename of one link of a file onto
		// another does nothing.
		return false, dropPrevious(on, path)
	case was.Mode().Type() == fs.ModeSymlink:
		if there {
			if err := dir.Remove(name); err != nil {
				return false, err
			}
		}
		return there, dropPrevious(on, path)
	}
	if err := dir.Rename(previous, name); err != nil {
		return false, err
	}
	return true, dir.Sync()
}

// dropPrevious ends a check that was passed.
func dropPrevious(on System, path string) error {
	dir := folderOf(on, path)
	if err := dir.Remove(filepath.Base(beside(path, "previous"))); err != nil {
		return err
	}
	return dir.Sync()
}
