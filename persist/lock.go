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

// LockedError says that another process writes the file.
type LockedError struct {
	Lock string // the lock's path
	PID  int    // of the other process; 0 where it has not said so
}

// Error names the process that has the lock.
func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s writes it already (it holds %s): stop that one, or set another persist.path", who, e.Lock)
}

// dying is how long a lock may outlive its process: one that was killed while it started
// a check leaves a child for a moment, which has the lock until it is that check.
const dying = time.Second

// takeLock locks .BASE.lock beside the file and writes this process's id into it. The
// system ends the lock with the process, however that ends.
func takeLock(path string) (*os.File, error) {
	name := beside(path, "lock")
	lock, err := openLock(name)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(dying); ; <-time.After(dying / 100) {
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
	// Without the id, on a full disk say, the lock is as good.
	if lock.Truncate(0) == nil {
		_, _ = lock.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return lock, nil
}

// openLock opens the lock's file and makes it where there is none. Whoever can open it can lock it, for
// good: so it is for its owner alone, and for the group where that may write the folder. It follows no
// link of any kind: whoever may write the folder could have root write a process id into any file.
func openLock(name string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK // a pipe there must not hang us
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
		// It must not stay: who finds it there leaves its owner alone.
		return nil, errors.Join(err, lock.Close(), os.Remove(name))
	}
	return lock, nil
}

// ownLock gives a new lock its mode, whatever the umask, and the folder's group where that may write.
func ownLock(lock *os.File, folder fs.FileInfo, mode fs.FileMode) error {
	if owner, ok := folder.Sys().(*syscall.Stat_t); ok && mode&0o020 != 0 {
		if err := lock.Chown(-1, int(owner.Gid)); errors.Is(err, fs.ErrPermission) {
			mode = 0o600 // a group that we are not in
		} else if err != nil {
			return err
		}
	}
	return lock.Chmod(mode)
}

// mendLock takes away what others may do with a lock that was there: earlier versions let everybody read
// it. An owner other than us, or root, keeps it as it is.
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
