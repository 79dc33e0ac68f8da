package wiring

import (
	"math"
	"syscall"

	"swallowkeeper/registry/probe"
)

const (
	// reserved is the number of files that the program needs apart from gateways and registries: log, conf file, status
	// address and socket with their clients, sockets for look-ups and traces.
	reserved = 64
	// reservedEach is the number for one gateway: a connection to each worker, and some while it looks for them.
	reservedEach = 24
	// leastEach is the minimum of a registry, whatever the limit.
	leastEach = 5
)

// openFiles returns the limit of open files of this process, or 0 for no practical limit. Go has already raised the
// soft limit to the hard one.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur) //nolint:gosec // small enough
}

// descriptorsFor returns how many connections each registry may hold under a limit of open files, beside those of the
// witness. 0 means any number.
func descriptorsFor(limit, probes, registries, gateways int) int {
	if limit == 0 || registries == 0 {
		return 0
	}
	return max((limit-reserved-probes-gateways*reservedEach)/registries, leastEach)
}

// probesFor returns how many connections the witness may have open at a time under a limit of open files.
func probesFor(limit int) int {
	const share, least = 16, 4
	if limit == 0 {
		return probe.MostAtOnce
	}
	return min(max(limit/share, least), probe.MostAtOnce)
}
