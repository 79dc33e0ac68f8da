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

// While a new file is checked, the previous one is kept beside it as .BASE.previous: a hard link if possible, else a
// copy. If there was no file, it is a dangling symbolic link, which is created atomically too. While it exists, the
// file in place is unchecked, also for the next run after a crash.

// noPrevious is the target of the symbolic link that stands for no file.
const noPrevious = "there-was-none"

func (f *File) keepPrevious() error {
	dir, previous := f.folder(), f.name("previous")
	if f.disk.info == nil {
		return dir.Symlink(noPrevious, previous)
	}
	if dir.Link(filepath.Base(f.path), previous) == nil {
		return nil
	}
	// Some file systems have no hard links, and Linux restricts links to files of other users.
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

// sameText returns the text of the file as last seen. It refuses a file that was replaced meanwhile, and follows no
// link, since that may lead to a file that only root may read.
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

// putBack restores the previous file if a check did not pass. It reports whether a file was replaced or removed.
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
		// The new file was never put in place. A rename between two links of the same file does nothing.
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

// dropPrevious ends a check that passed.
func dropPrevious(on System, path string) error {
	dir := folderOf(on, path)
	if err := dir.Remove(filepath.Base(beside(path, "previous"))); err != nil {
		return err
	}
	return dir.Sync()
}
