package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError reports that another process writes the file.
type LockedError struct {
	Lock string // the lock's path
	PID  int    // of the other process; 0 if unknown
}

// Error names the process that has the lock.
func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s writes it already (it holds %s): stop that one, or set another persist.path", who, e.Lock)
}

// lockLinger is how long a lock may outlive its process. A process killed while it forks a check leaves a child that holds
// the lock until it executes the check.
const lockLinger = time.Second

// takeLock locks .BASE.lock beside the file and writes our process id into it. The kernel releases the lock with the
// process, however it ends.
func takeLock(path string) (*os.File, error) {
	name := beside(path, "lock")
	lock, err := openLock(name)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(lockLinger); ; <-time.After(lockLinger / 100) {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			pid := readPID(lock)
			if pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) && time.Now().Before(until) {
				continue
			}
			err = &LockedError{Lock: name, PID: pid}
		}
		return nil, errors.Join(err, lock.Close())
	}
	// The lock is as good without the id, for example on a full disk.
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return lock, nil
}

// openLock opens the lock file, creating it if needed. Anyone who can open it can hold the lock forever, so only its
// owner can, and the group if the group may write the folder. It follows no link: anyone who may write the folder could
// otherwise make root write a process id into any file.
func openLock(name string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK // must not block on a pipe
	folder, err := os.Stat(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o600)
	if folder.Mode()&0o020 != 0 {
		mode = 0o660
	}
	lock, err := os.OpenFile(name, flags|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		if lock, err = os.OpenFile(name, flags, 0); err != nil {
			return nil, err
		}
		if err := mendLock(lock, mode); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		return lock, nil
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(giveTo(folder, lock), ownLock(lock, folder, mode)); err != nil {
		// Remove it: a later run would not change its owner.
		return nil, errors.Join(err, lock.Close(), os.Remove(name))
	}
	return lock, nil
}

// ownLock gives a new lock its mode, whatever the umask, and the folder's group if the group may write.
func ownLock(lock *os.File, folder fs.FileInfo, mode fs.FileMode) error {
	if owner, ok := folder.Sys().(*syscall.Stat_t); ok && mode&0o020 != 0 {
		if err := lock.Chown(-1, int(owner.Gid)); errors.Is(err, fs.ErrPermission) {
			mode = 0o600 // we are not in that group
		} else if err != nil {
			return err
		}
	}
	return lock.Chmod(mode)
}

// mendLock drops excess permissions of an existing lock: earlier versions made it world-readable. If it belongs to
// someone else and we are not root, it stays as it is.
func mendLock(lock *os.File, mode fs.FileMode) error {
	info, err := lock.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular() || ok && stat.Nlink > 1:
		return fmt.Errorf("%s: it is no file of its own: move it away", lock.Name())
	case info.Mode().Perm()&^mode == 0:
		return nil
	}
	if err := lock.Chmod(info.Mode().Perm() & mode); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

func releaseLock(lock *os.File) error {
	return errors.Join(lock.Truncate(0), lock.Close())
}

func readPID(lock *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(lock, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
