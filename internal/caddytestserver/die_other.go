//go:build !linux

package caddytestserver

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
