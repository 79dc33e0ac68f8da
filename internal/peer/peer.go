// Package peer says whose process is at the other end of a unix socket, as the system tells it.
package peer

import (
	"os"
	"os/user"
	"strconv"
)

// Name is the name of a user, or "uid 1000" where this machine knows none.
func Name(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + id
}

// Own is the name of the user that this process runs as.
func Own() string {
	return Name(uint32(os.Geteuid())) //nolint:gosec // no system here has others
}
