package persist

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// System is the part of the file system that a [File] uses. It is the machine's, except with [OpenOn], which lets tests
// make any single operation fail.
type System interface {
	Readlink(path string) (string, error)
	// Folder returns the folder at path, which is resolved again at each call.
	Folder(path string) Folder
	// History opens the folder at path once: if it is replaced later, calls still go to the open one. If it is missing,
	// History creates it, or without create returns an error that wraps [fs.ErrNotExist].
	History(path string, create bool) (Folder, error)
	// Lock locks the conf file at path. If another process holds the lock, the error is a *[LockedError].
	Lock(path string) (release func() error, err error)
}

// Folder is a folder. Names are of files directly in it.
type Folder interface {
	Stat() (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	OpenFile(name string, flag int, perm fs.FileMode) (Handle, error)
	Rename(from, to string) error
	Remove(name string) error
	Link(name, as string) error
	Symlink(to, name string) error
	List() ([]string, error)
	// Sync makes renames, links and removals durable.
	Sync() error
	Close() error
}

// Handle is an open file.
type Handle interface {
	io.ReadWriteCloser
	Stat() (fs.FileInfo, error)
	Chmod(mode fs.FileMode) error
	Chown(uid, gid int) error
	Sync() error
}

// machine is the file system of this machine.
type machine struct{}

func (machine) Readlink(path string) (string, error) { return os.Readlink(path) }
func (machine) Folder(path string) Folder            { return folder(path) }

func (machine) Lock(path string) (func() error, error) {
	lock, err := takeLock(path)
	if err != nil {
		return nil, err
	}
	return func() error { return releaseLock(lock) }, nil
}

func (machine) History(path string, create bool) (Folder, error) {
	root, err := openHistory(path, create)
	if err != nil {
		return nil, err
	}
	return opened{root}, nil
}

// folder is a folder by its path.
type folder string

func (f folder) at(name string) string { return filepath.Join(string(f), name) }

func (f folder) Stat() (fs.FileInfo, error)             { return os.Stat(string(f)) }
func (f folder) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(f.at(name)) }
func (f folder) Rename(from, to string) error           { return os.Rename(f.at(from), f.at(to)) }
func (f folder) Remove(name string) error               { return os.Remove(f.at(name)) }
func (f folder) Link(name, as string) error             { return os.Link(f.at(name), f.at(as)) }
func (f folder) Symlink(to, name string) error          { return os.Symlink(to, f.at(name)) }
func (f folder) Close() error                           { return nil }

func (f folder) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	return handle(os.OpenFile(f.at(name), flag, perm))
}

func (f folder) List() ([]string, error) { return listed(os.Open(string(f))) }
func (f folder) Sync() error             { return synced(os.Open(string(f))) }

// opened is a folder that stays open.
type opened struct{ *os.Root }

func (o opened) Stat() (fs.FileInfo, error) { return o.Root.Stat(".") }

func (o opened) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	return handle(o.Root.OpenFile(name, flag, perm))
}

func (o opened) List() ([]string, error) { return listed(o.Open(".")) }
func (o opened) Sync() error             { return synced(o.Open(".")) }

// handle avoids an interface that holds a nil *os.File.
func handle(f *os.File, err error) (Handle, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func listed(dir *os.File, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// synced syncs a folder. Some file systems do not support that, and their errors are ignored.
func synced(dir *os.File, err error) error {
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}

// sameFile reports whether both describe the same file.
func sameFile(a, b fs.FileInfo) bool {
	x, ok := a.Sys().(*syscall.Stat_t)
	y, too := b.Sys().(*syscall.Stat_t)
	return ok && too && x.Dev == y.Dev && x.Ino == y.Ino
}
