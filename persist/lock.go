package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
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

// openLock makes the lock's file where there is none. It follows no symbolic link: whoever
// may write the folder could have root write a process id into any file.
func openLock(name string) (*os.File, error) {
	const flags = os.O_RDWR | unix.O_NOFOLLOW
	lock, err := os.OpenFile(name, flags|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return os.OpenFile(name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := giveToFolder(lock); err != nil {
		// It must not stay: who finds it there leaves its owner alone.
		return nil, errors.Join(err, lock.Close(), os.Remove(name))
	}
	return lock, nil
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
