package docker

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"swallowkeeper/reason"
)

// workload is a container, or a task of a swarm.
type workload struct {
	id, name string
	labels   map[string]string
	env      map[string]string // the variables with [variables] as prefixes
	networks []attachment      // ordered by name
	onHost   bool              // it uses the host network
	exposed  []int             // tcp ports, sorted
	bindings []binding         // sorted
	meshed   []int             // ports that a swarm publishes on all nodes for all tasks
	// out is why it currently receives no traffic, if it does not. note is anything else to tell.
	out, note reason.Reason
	// unhealthy reports that out is about its health, leaving that it was told to stop.
	unhealthy, leaving bool
}

// attachment is a network with the addresses on it.
type attachment struct {
	name  string
	addrs []netip.Addr
}

// binding is a published port of a container.
type binding struct {
	private, public int
	ip              netip.Addr // invalid or unspecified: all addresses of the machine
}

// variables are the prefixes of environment variables that describe the service.
var variables = []string{"SERVICE_", "VIRTUAL_", "NETWORK_ACCESS"}

// setting returns the value of a label, or else of the environment variable.
func (w *workload) setting(key string) string {
	if v, is := w.labels[key]; is {
		return v
	}
	return w.env[key]
}

// details are what only an inspection shows of a container. They never change.
type details struct {
	env        map[string]string
	exposed    []int
	onHost     bool
	stopSignal int
	grace      time.Duration // between the signal and the end
}

func detailsOf(c container.InspectResponse) details {
	d := details{stopSignal: defaultStop}
	if c.HostConfig != nil {
		d.onHost = c.HostConfig.NetworkMode.IsHost()
	}
	if c.Config == nil {
		return d
	}
	d.env = environment(c.Config.Env)
	for p := range c.Config.ExposedPorts {
		if p.Proto() == "tcp" {
			d.exposed = append(d.exposed, int(p.Num()))
		}
	}
	slices.Sort(d.exposed)
	if n := signalNumber(c.Config.StopSignal); n != 0 {
		d.stopSignal = n
	}
	if t := c.Config.StopTimeout; t != nil && *t > 0 {
		d.grace = time.Duration(*t) * time.Second
	}
	return d
}

func environment(list []string) map[string]string {
	var env map[string]string
	for _, line := range list {
		key, value, _ := strings.Cut(line, "=")
		if slices.ContainsFunc(variables, func(p string) bool { return strings.HasPrefix(key, p) }) {
			if env == nil {
				env = map[string]string{}
			}
			env[key] = value
		}
	}
	return env
}

// workloadOf combines a listed container with its details.
func workloadOf(c container.Summary, d details) workload {
	w := workload{id: c.ID, labels: c.Labels, env: d.env, exposed: slices.Clone(d.exposed)}
	if len(c.Names) > 0 {
		w.name = strings.TrimPrefix(c.Names[0], "/")
	}
	w.onHost = d.onHost || c.HostConfig.NetworkMode == "host"
	if c.NetworkSettings != nil && !w.onHost {
		for name, e := range c.NetworkSettings.Networks {
			a := attachment{name: name}
			if e != nil {
				for _, ip := range []netip.Addr{e.IPAddress, e.GlobalIPv6Address} {
					if ip.IsValid() && !ip.IsUnspecified() {
						a.addrs = append(a.addrs, ip)
					}
				}
			}
			if len(a.addrs) > 0 {
				w.networks = append(w.networks, a)
			}
		}
		slices.SortFunc(w.networks, func(a, b attachment) int { return strings.Compare(a.name, b.name) })
	}
	for _, p := range c.Ports {
		if p.Type != "tcp" {
			continue
		}
		w.exposed = append(w.exposed, int(p.PrivatePort))
		if p.PublicPort != 0 {
			w.bindings = append(w.bindings, binding{int(p.PrivatePort), int(p.PublicPort), p.IP})
		}
	}
	slices.Sort(w.exposed)
	w.exposed = slices.Compact(w.exposed)
	slices.SortFunc(w.bindings, binding.compare)
	w.out, w.unhealthy = stateOf(c)
	return w
}

// compare orders bindings of all addresses before those of one.
func (b binding) compare(o binding) int {
	switch one, other := b.special(), o.special(); {
	case one != other && one:
		return 1
	case one != other:
		return -1
	case b.public != o.public:
		return b.public - o.public
	}
	return b.ip.Compare(o.ip)
}

// special reports whether it is published at one address only.
func (b binding) special() bool { return b.ip.IsValid() && !b.ip.IsUnspecified() }

// stateOf returns why a container receives no traffic in its state, and whether because of its health.
func stateOf(c container.Summary) (out reason.Reason, unhealthy bool) {
	switch c.State {
	case container.StateRunning:
	case container.StatePaused:
		return isPaused.With(), false
	case container.StateRestarting:
		return isRestarting.With(), true
	default:
		return isNotRunning.With(string(c.State)), false
	}
	switch healthOf(c) {
	case container.Starting:
		return notYet.With(), true
	case container.Unhealthy:
		return isUnhealthy.With(), true
	}
	return reason.Reason{}, false
}

// healthOf parses the human-readable status of engines with an API older than 1.52.
func healthOf(c container.Summary) container.HealthStatus {
	switch {
	case c.Health != nil && c.Health.Status != "":
		return c.Health.Status
	case strings.HasSuffix(c.Status, "(unhealthy)"):
		return container.Unhealthy
	case strings.HasSuffix(c.Status, "(health: starting)"):
		return container.Starting
	}
	return container.NoHealthcheck
}
