package wiring

import (
	"math"
	"syscall"

	"swallowkeeper/registry/probe"
)

const (
	// reserved are the files that the program needs beside its gateways and registries: log, conf file, the status
	// address and socket with who is connected, the sockets of look-ups and traces.
	reserved = 64
	// reservedEach are those of one gateway: a connection to each worker, and some while it searches for them.
	reservedEach = 24
	// leastEach is what a registry can't do without, whatever the limit.
	leastEach = 5
)

// openFiles is the limit of open files of this process, 0 where there is none that matters. Go has raised the soft
// limit to the hard one by now.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	return int(limit.Cur) //nolint:gosec // it is small enough
}

// descriptorsFor is how many connections each registry may hold under a limit of open files, beside those of the
// witness; 0 is any number.
func descriptorsFor(limit, probes, registries, gateways int) int {
	if limit == 0 || registries == 0 {
		return 0
	}
	return max((limit-reserved-probes-gateways*reservedEach)/registries, leastEach)
}

// probesFor is how many connections the witness may have open at a time under a limit of open files.
func probesFor(limit int) int {
	const share, least = 16, 4
	if limit == 0 {
		return probe.MostAtOnce
	}
	return min(max(limit/share, least), probe.MostAtOnce)
}
