// Package loopback reserves ports of 127.0.0.1 for tests. No concurrent test gets the same port, nor does an outgoing
// connection.
package loopback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Refused returns an address that refuses connections until the test ends.
func Refused(t testing.TB) string {
	t.Helper()
	addr, err := hold(t)
	if err != nil {
		t.Fatalf("hold a port: %v", err)
	}
	return addr.String()
}

// Listen listens on a port that stays reserved after Close. It then refuses connections until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	addr, err := hold(t)
	if err != nil {
		t.Fatalf("hold a port: %v", err)
	}
	beside := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return c.Control(func(fd uintptr) { err = share(int(fd)) })
	}}
	l, err := beside.Listen(context.WithoutCancel(t.Context()), "tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// hold binds a port without listening.
func hold(t testing.TB) (net.Addr, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := share(fd); err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return nil, os.NewSyscallError("getsockname", err)
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.(*unix.SockaddrInet4).Port}, nil
}

// share lets a listener use the port beside the socket that holds it.
func share(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// Below the ephemeral ranges, which start at 32768 on Linux and 49152 on macOS.
const firstFree, lastFree = 11_000, 31_999

// Free reserves ports for a program to be started. Nobody listens on them, no outgoing connection uses them, and no
// other call in this or another process returns them until the test ends.
func Free(t testing.TB, n int) []string {
	t.Helper()
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		if tries > 1000 {
			t.Fatal("no free port")
		}
		port := firstFree + rand.IntN(lastFree-firstFree+1)
		if !claim(t, port) {
			continue
		}
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		addrs = append(addrs, l.Addr().String())
		_ = l.Close()
	}
	return addrs
}

// claimed are the ports of this process. Other processes see them in the file, where a byte is locked for each. The
// system unlocks it however the process ends.
var claimed struct {
	sync.Mutex
	file  *os.File
	ports map[int]bool
}

func claim(t testing.TB, port int) bool {
	claimed.Lock()
	defer claimed.Unlock()
	if claimed.file == nil {
		f, err := os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("swallowkeeper-ports-%d", os.Getuid())), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatalf("the file that says which ports are taken: %v", err)
		}
		claimed.file, claimed.ports = f, map[int]bool{}
	}
	if claimed.ports[port] || lock(port, unix.F_WRLCK) != nil {
		return false
	}
	claimed.ports[port] = true
	t.Cleanup(func() {
		claimed.Lock()
		defer claimed.Unlock()
		delete(claimed.ports, port)
		_ = lock(port, unix.F_UNLCK)
	})
	return true
}

func lock(port int, kind int16) error {
	return unix.FcntlFlock(claimed.file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: kind, Start: int64(port), Len: 1})
}
