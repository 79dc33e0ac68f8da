//go:build linux || darwin

package peer

import (
	"net"
)

// control queries the system about a unix socket.
func control(c net.Conn, ask func(fd int) (uint32, error)) (uid uint32, told bool) {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, false
	}
	var failed error
	err = raw.Control(func(fd uintptr) { uid, failed = ask(int(fd)) })
	return uid, err == nil && failed == nil
}
