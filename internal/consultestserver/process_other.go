//go:build !linux

package consultestserver

import "syscall"

// endWithParent does nothing: only Linux can tie a program's life to its parent's.
func endWithParent() *syscall.SysProcAttr { return nil }
