package persist

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// resolve follows symbolic links at path, even to a file that does not exist yet. The link stays; its target is what
// gets replaced.
func resolve(on System, path string) (string, error) {
	const most = 40 // as in Linux
	for range most {
		target, err := on.Readlink(path)
		switch {
		case err == nil && filepath.IsAbs(target):
			path = filepath.Clean(target)
		case err == nil:
			path = filepath.Join(filepath.Dir(path), target)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EINVAL): // EINVAL: not a link
			return path, nil
		default:
			return "", err
		}
	}
	return "", fmt.Errorf("readlink %s: %w", path, unix.ELOOP)
}

// beside returns the path of a companion of the file. The leading dot keeps it out of nginx's `include *.conf`.
func beside(path, kind string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+"."+kind)
}

type temporary struct {
	name string
	info fs.FileInfo
}

// writeTemp writes and syncs a temporary file beside the target. Mode and owner are those of like. If like is nil, the
// mode is 0644, and a file made by root is given to the folder's owner.
func (f *File) writeTemp(like fs.FileInfo, parts ...[]byte) (temporary, error) {
	return f.writeInto(f.folder(), f.name("tmp-"+rand.Text()), like, parts...)
}

// writeInto is writeTemp for a file in the folder dir.
func (f *File) writeInto(dir Folder, name string, like fs.FileInfo, parts ...[]byte) (temporary, error) {
	t := temporary{name: name}
	file, err := dir.OpenFile(t.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return temporary{}, err
	}
	for _, p := range parts {
		if err == nil {
			_, err = file.Write(p)
		}
	}
	if err == nil {
		err = f.copyOwner(file, like)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		t.info, err = file.Stat()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return temporary{}, errors.Join(err, dir.Remove(t.name))
	}
	return t, nil
}

func (f *File) copyOwner(file Handle, like fs.FileInfo) error {
	if like == nil {
		folder, err := f.folder().Stat()
		if err == nil {
			err = giveTo(folder, file)
		}
		if err != nil {
			return err
		}
		return file.Chmod(0o644)
	}
	if err := f.chown(file, like); err != nil {
		return err
	}
	return file.Chmod(like.Mode().Perm())
}

// giveTo gives a file just made by root to its folder's owner and group. Without that, a command run once as root would
// lock out a daemon that runs under that account.
func giveTo(folder fs.FileInfo, file Handle) error {
	owner, ok := folder.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 || !ok || owner.Uid == 0 {
		return nil
	}
	if err := file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("give it to the owner of its folder (user %d, group %d): %w", owner.Uid, owner.Gid, err)
	}
	return nil
}

// chown gives the file the owner of like. An ordinary user can't do that. The file is then written anyway, because
// nginx's master process reads it as root.
func (f *File) chown(file Handle, like fs.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if is, ok := info.Sys().(*syscall.Stat_t); ok && is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	err = file.Chown(int(want.Uid), int(want.Gid))
	if errors.Is(err, fs.ErrPermission) {
		f.log.Warnf("the file can't be given to its former owner (user %d, group %d): its owner changes", want.Uid, want.Gid)
		return nil
	}
	return err
}

// folder returns the folder of the file, and name the name of a companion in it.
func (f *File) folder() Folder          { return folderOf(f.on, f.path) }
func (f *File) name(kind string) string { return filepath.Base(beside(f.path, kind)) }

func folderOf(on System, path string) Folder { return on.Folder(filepath.Dir(path)) }

func (f *File) removeTemps() error {
	dir := f.folder()
	names, err := dir.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, f.name("tmp-")) {
			if err := dir.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
