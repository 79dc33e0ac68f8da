//go:build !linux

package consultestserver

import "syscall"

// endWithParent does nothing: only Linux can tie a program's life to its parent's.
func endWithParent() *syscall.SysProcAttr { return nil }

// awaitStopped does nothing: only Linux can wait for a stop without taking the program's end from
// whoever waits for that.
func awaitStopped(int) error { return nil }
