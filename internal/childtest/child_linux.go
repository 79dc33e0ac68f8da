// Package childtest ends and stops programs that tests start.
package childtest

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// EndWithParent has the kernel kill the program when the test's process ends, for a test that runs
// into its time limit panics without cleaning up.
func EndWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// AwaitStopped waits until SIGSTOP has reached every thread of a child: kill(2) returns before, and
// on a busy machine a call that follows at once may still get an answer. A child that has ended is an error.
func AwaitStopped(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait until process %d has stopped: %w", pid, err)
		}
		return nil
	}
}
