package caddytestserver

import "syscall"

// dieWithUs ends it with the test, however that ends.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
