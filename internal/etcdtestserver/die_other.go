//go:build !linux

package etcdtestserver

import "syscall"

func dieWithUs() *syscall.SysProcAttr { return nil }
