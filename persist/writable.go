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

// Writable returns an error if this account can't write the file and its companions. It tries with a temporary file,
// which it removes, and takes no lock.
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
	if c.ShardAbove != "0" {
		if err := writableBeside(shardsFolder(path)); err != nil {
			return fmt.Errorf("user %d can't write the shards %s: %w", account, shardsFolder(path), err)
		}
	}
	if c.History == 0 && c.Record == 0 {
		return nil
	}
	if err := writableBeside(historyFolder(path)); err != nil {
		return fmt.Errorf("user %d can't write the history %s: %w", account, historyFolder(path), err)
	}
	return nil
}

// writableBeside tries to write to a folder beside the conf file, if it exists.
func writableBeside(path string) error {
	folder, err := openHistory(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(tryToWrite(folder, keepTemp+"check"), folder.Close())
}

// tryToWrite creates a file and removes it.
func tryToWrite(folder *os.Root, name string) error {
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	file, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), folder.Remove(name))
}

// replaceable returns why a file in a writable folder can't be replaced: with the sticky bit, as on /tmp, only the
// owner of the file or of the folder can.
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
