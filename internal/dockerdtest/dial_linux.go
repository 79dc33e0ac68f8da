package dockerdtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dial connects from the daemon's network namespace to a numeric IPv4 address.
func (d *Daemon) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialIn(ctx, d.namespace(), network, address)
}

// DialIn connects from a running container's network namespace: its name server answers at 127.0.0.11 there.
func (d *Daemon) DialIn(container string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d.t.Helper()
	namespace := "/proc/" + d.Docker("inspect", "--format", "{{.State.Pid}}", container) + "/ns/net"
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialIn(ctx, namespace, network, address)
	}
}

func dialIn(ctx context.Context, namespace, network, address string) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is somewhere else now, ends with the goroutine
		var a answer
		if a.err = enter(namespace); a.err == nil {
			a.conn, a.err = new(net.Dialer).DialContext(ctx, network, address)
		}
		got <- a
	}()
	a := <-got
	return a.conn, a.err
}

// enter moves the thread into a namespace.
func enter(namespace string) error {
	ns, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

// Command returns a command that runs in the daemon's network namespace and ends with the test's process at the latest.
func (d *Daemon) Command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.WithoutCancel(d.t.Context()), "nsenter", append([]string{"--net=" + d.namespace(), name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}
