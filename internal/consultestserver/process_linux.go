package consultestserver

import "syscall"

// endWithParent has the kernel kill the program when the test's process ends, for a test that runs
// into its time limit panics without cleaning up.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
