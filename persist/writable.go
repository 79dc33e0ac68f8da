package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Writable returns why this account could not write the file and what stands beside it. It tries that
// with a temporary file and leaves nothing behind; it takes no lock.
func Writable(c Config) error {
	path, err := resolve(machine{}, c.Path)
	if err != nil {
		return err
	}
	folder, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	account := os.Geteuid()
	if err := tryToWrite(folder, filepath.Base(beside(path, "tmp-check"))); err != nil {
		return fmt.Errorf("user %d can't write the folder %s, where the file is replaced as a whole: %w", account, filepath.Dir(path), err)
	}
	for _, name := range []string{filepath.Base(path), filepath.Base(beside(path, "lock"))} {
		if err := replaceable(folder, name, account); err != nil {
			return fmt.Errorf("user %d can't replace %s: %w", account, filepath.Join(filepath.Dir(path), name), err)
		}
	}
	lock, err := os.OpenFile(beside(path, "lock"), os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == nil {
		err = lock.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("user %d can't open the lock: %w", account, err)
	}
	if c.History == 0 && c.Record == 0 {
		return nil
	}
	history, err := openHistory(historyFolder(path), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(tryToWrite(history, keepTemp+"check"), history.Close())
	}
	if err != nil {
		return fmt.Errorf("user %d can't write the history %s: %w", account, historyFolder(path), err)
	}
	return nil
}

// tryToWrite makes a file and removes it.
func tryToWrite(folder *os.Root, name string) error {
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), folder.Remove(name))
}

// replaceable says why a file of a folder that may be written can't be replaced: in one such as /tmp that
// is for the owners of file and folder.
func replaceable(folder *os.Root, name string, account int) error {
	above, err := folder.Stat(".")
	if err != nil {
		return err
	}
	file, err := folder.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	a, ok := above.Sys().(*syscall.Stat_t)
	f, too := file.Sys().(*syscall.Stat_t)
	if !ok || !too || above.Mode()&fs.ModeSticky == 0 || account == 0 || int(a.Uid) == account || int(f.Uid) == account {
		return nil
	}
	return fmt.Errorf("it belongs to user %d, and in a folder with the sticky bit only its owner may: %w", f.Uid, fs.ErrPermission)
}
