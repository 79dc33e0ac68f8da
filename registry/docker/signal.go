package docker

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultStop = int(syscall.SIGTERM)
	// firstRealTime is SIGRTMIN as numbered by libraries; systemd stops by such signals.
	firstRealTime = 34
	lastRealTime  = 64
)

// signalNumber parses a signal as engines write it: 15, TERM, SIGTERM, SIGRTMIN+3. It returns 0 if invalid.
func signalNumber(s string) int {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > lastRealTime {
			return 0
		}
		return n
	}
	s = "SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := int(unix.SignalNum(s)); n != 0 {
		return n
	}
	if rest, is := strings.CutPrefix(s, "SIGRTMIN"); is {
		n, err := strconv.Atoi("0" + strings.TrimPrefix(rest, "+"))
		if err == nil && firstRealTime+n <= lastRealTime {
			return firstRealTime + n
		}
	}
	return 0
}

// signalName returns the common name.
func signalName(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// stops reports whether a signal asks a container to stop. HUP and USR do not, unless they are its stop signal.
func stops(signal, stopSignal int) bool {
	switch syscall.Signal(signal) {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL:
		return true
	}
	return signal != 0 && signal == stopSignal
}

// died stands for the end of a container.
const died = -1

// signals are the signals that a container received and may end by, with the time of the last one.
type signals map[int]time.Time

// judge applies the signals to a running container: it was told to stop, or after the grace period, it did not.
func (s signals) judge(w *workload, d details, grace time.Duration, now time.Time) {
	grace = max(grace, d.grace)
	if at, is := s[died]; is {
		if now.Sub(at) < grace { // a list that shows it as running is older
			w.out, w.unhealthy, w.leaving = hasEnded.With(), false, true
		}
		return
	}
	for signal, at := range s {
		if !stops(signal, d.stopSignal) {
			continue
		}
		if now.Sub(at) < grace {
			w.out, w.unhealthy, w.leaving = isLeaving.With(signalName(signal)), false, true
			return
		}
		w.note = stillRuns.With(signalName(signal), grace.String())
	}
}
