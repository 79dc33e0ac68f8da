// Package peer identifies the user at the other end of a unix socket.
package peer

import (
	"os"
	"os/user"
	"strconv"
)

// Name returns the name of a user, or "uid 1000" if unknown.
func Name(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + id
}

// Own returns the name of the user of this process.
func Own() string {
	return Name(uint32(os.Geteuid())) //nolint:gosec // user IDs fit on all systems
}
