package dockerdtest

import (
	"os"
	"strings"
)

// InMountedRoot is a command that runs a program where the root folder is a mount. In a plain chroot it is none, and there
// dockerd can unpack nothing ("remount /: invalid argument") and enters no container. The program keeps the process ID.
func InMountedRoot(argv ...string) []string {
	if rootIsMounted() {
		return argv
	}
	return append([]string{"unshare", "--mount", "--propagation", "unchanged", "sh", "-c", ownRoot, "sh"}, argv...)
}

// ownRoot runs a program with its root folder mounted, in mounts that nobody else sees, where it is the root of all:
// what enters a container (docker exec) begins there.
const ownRoot = `set -e
mount --make-rprivate /dev
mount -t tmpfs none /dev/shm
mkdir /dev/shm/root
mount --rbind / /dev/shm/root
mount --make-rslave /dev/shm/root
exec 3</dev/shm/root
exec nsenter --mount=/proc/self/ns/mnt sh -c '
	mount --make-rslave / && cd /proc/self/fd/3 && pivot_root . . && umount -l . && cd / && exec "$@" 3<&-' sh "$@"`

func rootIsMounted() bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true // no Linux
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return true
		}
	}
	return false
}
