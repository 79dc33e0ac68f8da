package nginxproc

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// leavingTitle is the title of a worker that accepts no new connections and ends with its last request.
const leavingTitle = workerTitle + " is shutting down"

// Worker is a worker process of nginx.
type Worker struct {
	PID int
	// Leaving reports that it accepts no new connections and ends with its last request.
	Leaving bool
	// Stopped reports that a signal or a debugger has stopped it.
	Stopped bool
}

// Name returns the name of the program that a process runs, from the kernel.
func (t Table) Name(pid int) (string, error) {
	text, err := t.read(pid, "comm")
	return strings.TrimSuffix(string(text), "\n"), err
}

// Master returns the process ID of a worker's master.
func (t Table) Master(worker int) (int, error) {
	if title, err := t.title(worker); err != nil || !strings.HasPrefix(title, workerTitle) {
		return 0, fmt.Errorf("process %d is no worker of an nginx here", worker)
	}
	status, err := t.status(worker)
	if err != nil {
		return 0, err
	}
	if len(status["NSpid"]) > 1 {
		return 0, fmt.Errorf("worker %d is in a container: its process ID may be another's here", worker)
	}
	master, err := strconv.Atoi(strings.Join(status["PPid"], " "))
	if err != nil {
		return 0, fmt.Errorf("the parent of worker %d is not known", worker)
	}
	return master, t.IsMaster(master)
}

// Takes reports whether a process is a worker that accepts connections.
func (t Table) Takes(worker int) bool {
	title, err := t.title(worker)
	return err == nil && strings.HasPrefix(title, workerTitle) && !strings.HasPrefix(title, leavingTitle)
}

// IsMaster returns nil if a process is the master of an nginx.
func (t Table) IsMaster(pid int) error {
	title, err := t.title(pid)
	if err == nil && !strings.HasPrefix(title, masterTitle) {
		err = fmt.Errorf("process %d is no master of an nginx", pid)
	}
	return err
}

// Workers returns the workers of a master, ordered by ID. A worker that was just forked has no title yet and is not
// included.
func (t Table) Workers(master int) ([]Worker, error) {
	if err := t.IsMaster(master); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(t.Root)
	if err != nil {
		return nil, err
	}
	var all []Worker
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		parent, state, err := t.stat(pid)
		if err != nil || parent != master {
			continue // it has ended in the meantime
		}
		title, err := t.title(pid)
		if err != nil || !strings.HasPrefix(title, workerTitle) {
			continue
		}
		all = append(all, Worker{
			PID: pid, Leaving: strings.HasPrefix(title, leavingTitle), Stopped: strings.ContainsAny(state, "TtX"),
		})
	}
	slices.SortFunc(all, func(a, b Worker) int { return a.PID - b.PID })
	return all, nil
}

// stat returns a process's parent and state. The name in brackets before them may contain any characters.
func (t Table) stat(pid int) (parent int, state string, err error) {
	text, err := t.read(pid, "stat")
	if err != nil {
		return 0, "", err
	}
	fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
	if len(fields) < 2 {
		return 0, "", fmt.Errorf("the state of process %d is not known", pid)
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[0], err
}
