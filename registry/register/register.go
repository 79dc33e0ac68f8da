// Package register defines what an agent writes into a registry: the instances of one node, and who owns them.
// Registries that can be written import it, and so does the agent.
package register

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrTaken says that another agent has the node's name.
var ErrTaken = errors.New("another agent")

// Entry is one instance as it is registered.
type Entry struct {
	// ID is NODE:CONTAINER:PORT, as registrator has it.
	ID        string         `json:"id"`
	Service   string         `json:"service"`
	Address   netip.AddrPort `json:"address"`
	Healthy   bool           `json:"healthy"`
	Why       string         `json:"why,omitempty"` // it is not healthy
	Weight    int            `json:"weight"`
	Tags      []string       `json:"tags,omitempty"`
	Routes    []string       `json:"routes,omitempty"`
	Container string         `json:"container"` // its name
	// ContainerID is the whole id.
	ContainerID string `json:"container_id"`
	// Auth is what Chipmunks' label says.
	Auth string `json:"-"`
}

// Owner is who writes the entries of a node. As JSON it is what one agent tells another of itself.
type Owner struct {
	Node string `json:"-"`
	PID  int    `json:"pid"`
	// Born is when the process began, as the kernel says it.
	Born string `json:"born"`
	// Machine tells its machine, and this boot of it, from others.
	Machine string    `json:"machine"`
	Since   time.Time `json:"since"`
}

// Process is a process of this machine as the owner of a node's entries.
func Process(node string, pid int) Owner {
	return Owner{Node: node, PID: pid, Born: born(pid), Machine: machine(), Since: time.Now()}
}

// Gone reports whether an owner that is not this process is known to have ended. One of another machine, or of before a boot, is
// not known.
func (o Owner) Gone() bool {
	return o.Machine == machine() && (o.PID == os.Getpid() || born(o.PID) != o.Born)
}

// born is when a process began, "" where there is none.
func born(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ") // its name may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// machine tells this machine, and this boot of it, from others.
func machine() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		host, _ := os.Hostname()
		return host
	}
	return strings.TrimSpace(string(text))
}
