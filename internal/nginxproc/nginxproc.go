// Package nginxproc finds the nginx.conf that a running nginx was started with from the process ID of a worker, and the
// workers of a master. It reads what the kernel shows about the worker and its parent, the master, whose title contains
// the command line. It runs nothing, and finds nothing if something does not fit: the worker may be on another machine,
// and its number belong to another process here.
package nginxproc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// How nginx titles its processes. A worker's title ends with "is shutting down" after a reload.
const (
	masterTitle = "nginx: master process "
	workerTitle = "nginx: worker process"
)

// most limits the size read from a file of the process table, far above any command line.
const most = 256 << 10

// mostProgram limits how much of a program is searched.
const mostProgram = 256 << 20

// Table is the folder in which the kernel shows the processes.
type Table struct {
	Root string
	// Account may run a master, as may root. Processes of others may call themselves anything.
	Account int
}

// System returns the table of this machine, for the account of this program.
func System() Table { return Table{Root: "/proc", Account: os.Geteuid()} }

// Conf returns the absolute path of the nginx.conf of the worker's nginx.
func (t Table) Conf(worker int) (string, error) {
	if title, err := t.title(worker); err != nil || !strings.HasPrefix(title, workerTitle) {
		return "", fmt.Errorf("process %d is no worker of an nginx here", worker)
	}
	status, err := t.status(worker)
	if err != nil {
		return "", err
	}
	if len(status["NSpid"]) > 1 {
		return "", fmt.Errorf("worker %d is in a container: its files are others", worker)
	}
	master, err := strconv.Atoi(strings.Join(status["PPid"], " "))
	if err != nil {
		return "", fmt.Errorf("the parent of worker %d is not known", worker)
	}
	title, err := t.title(master)
	if err != nil {
		return "", err
	}
	words, found := strings.CutPrefix(title, masterTitle)
	if !found {
		return "", fmt.Errorf("process %d, the parent of worker %d, is no master of an nginx", master, worker)
	}
	if err := t.trusted(master); err != nil {
		return "", err
	}
	if t.elsewhere(master) {
		return "", fmt.Errorf("master %d has other files than this program", master)
	}
	return t.conf(master, parse(words))
}

// title returns the title of a process. nginx pads the rest of its command line with zeros; another program has further
// arguments there.
func (t Table) title(pid int) (string, error) {
	text, err := t.read(pid, "cmdline")
	if err != nil {
		return "", err
	}
	title, rest, _ := bytes.Cut(text, []byte{0})
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return "", fmt.Errorf("process %d has no title", pid)
	}
	return string(title), nil
}

// status returns the lines of a process's status, split into words.
func (t Table) status(pid int) (map[string][]string, error) {
	text, err := t.read(pid, "status")
	if err != nil {
		return nil, err
	}
	lines := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			lines[key] = strings.Fields(value)
		}
	}
	return lines, nil
}

// trusted returns an error unless the master's title can be trusted. All four of its user IDs must be root's or ours:
// with set-user-ID programs, the first is who started it and chose its name.
func (t Table) trusted(master int) error {
	status, err := t.status(master)
	if err != nil {
		return err
	}
	ids := status["Uid"]
	if len(ids) == 0 {
		return fmt.Errorf("the account of master %d is not known", master)
	}
	for _, id := range ids {
		if id != ids[0] || id != "0" && id != strconv.Itoa(t.Account) {
			return fmt.Errorf("master %d runs as another account than root or this program's", master)
		}
	}
	return nil
}

// elsewhere reports whether a master is known to see other files. Only root and its own account are shown that.
func (t Table) elsewhere(master int) bool {
	its, err := os.Stat(t.path(master, "root") + "/")
	if err != nil {
		return false
	}
	ours, err := os.Stat("/")
	return err == nil && !os.SameFile(its, ours)
}

// conf resolves the options like nginx: the file relative to the prefix, the prefix relative to the folder it was
// started in, and built-in defaults for the rest.
func (t Table) conf(master int, o options) (string, error) {
	if filepath.IsAbs(o.conf) {
		return filepath.Clean(o.conf), nil
	}
	if o.conf == "" || o.prefix == "" {
		built, err := t.built(master, o.program)
		if err != nil {
			return "", err
		}
		if o.conf == "" {
			o.conf = built.conf
		}
		if o.prefix == "" {
			o.prefix = built.prefix
		}
	}
	if filepath.IsAbs(o.conf) {
		return filepath.Clean(o.conf), nil
	}
	if !filepath.IsAbs(o.prefix) {
		folder, err := os.Readlink(t.path(master, "cwd"))
		if err != nil {
			return "", fmt.Errorf("the folder that master %d was started in: %w", master, err)
		}
		o.prefix = filepath.Join(folder, o.prefix)
	}
	return filepath.Join(o.prefix, o.conf), nil
}

// built returns the built-in defaults. Only root and its own account may open a process's program; others open the file
// named in the title.
func (t Table) built(master int, program string) (options, error) {
	f, err := os.Open(t.path(master, "exe"))
	if err != nil && filepath.IsAbs(program) {
		f, err = os.OpenFile(program, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would block
	}
	if err != nil {
		return options{}, fmt.Errorf("how the nginx of master %d was built: %w", master, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return options{}, errors.Join(fmt.Errorf("%s is no program", program), err)
	}
	return builtInto(io.LimitReader(f, mostProgram))
}

func (t Table) path(pid int, name string) string {
	return filepath.Join(t.Root, strconv.Itoa(pid), name)
}

func (t Table) read(pid int, name string) ([]byte, error) {
	f, err := os.Open(t.path(pid, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
