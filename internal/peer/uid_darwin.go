package peer

import (
	"net"

	"golang.org/x/sys/unix"
)

// UID returns the user of the process that connected, as of that moment; false if the system does not tell.
func UID(c net.Conn) (uint32, bool) {
	return control(c, func(fd int) (uint32, error) {
		cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		if err != nil {
			return 0, err
		}
		return cred.Uid, nil
	})
}
