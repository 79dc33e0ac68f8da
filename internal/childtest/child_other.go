//go:build !linux

// Package childtest ends and stops programs that tests start.
package childtest

import "syscall"

// EndWithParent does nothing: only Linux can tie a program's life to its parent's.
func EndWithParent() *syscall.SysProcAttr { return nil }

// AwaitStopped does nothing: only Linux can wait for a stop without taking the program's end from
// whoever waits for that.
func AwaitStopped(int) error { return nil }
