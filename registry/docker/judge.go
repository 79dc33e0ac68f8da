package docker

import (
	"cmp"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// mostText limits the kept text of a label, in bytes.
const mostText = 80

// Instance is what a container or task offers to a service.
type Instance struct {
	// ID and Container are the ID and name of the container, or of the task.
	ID, Container string
	// Service is the service's name, and Port the port in the container.
	Service string
	Port    int
	// Server is its address and options; only valid if Reached.
	Server  upstream.Server
	Reached bool
	// Out is why it receives no traffic, if it does not. Note is anything else to tell.
	Out, Note reason.Reason
	// Unhealthy reports that it is out because of its health, Leaving because it was told to stop.
	Unhealthy, Leaving bool
	// Tags are those of SERVICE_TAGS. Auth is the value of Chipmunks' label.
	Tags []string
	Auth string
	// Routes are the routes in its labels, and Bad the refused ones.
	Routes []route.Route
	Bad    []route.Bad
	// apart reports that it belongs to no upstream: its name is invalid or not wanted.
	apart bool
}

// judge returns what a workload offers: nothing, one instance, or one for each port with a service name.
func (c *Config) judge(w workload, d upstream.Defaults, origin string) []Instance {
	var all []Instance
	for _, o := range c.offers(w) {
		i := Instance{
			ID: w.id, Container: w.name, Service: safetext.Cut(o.name, upstream.MaxName+1), Leaving: w.leaving, Note: w.note, Tags: w.tags(), Auth: w.labels[chipmunksAuth],
		}
		i.Out = reason.Of(c.place(&i, w, o, d, origin))
		if !i.apart {
			i.Routes, i.Bad = routesOf(w, i.Service, origin)
		}
		// A stopped container has no address, and its state tells more.
		ended := !i.apart && len(w.networks) == 0 && !w.onHost
		if !w.out.IsZero() && (i.Out.IsZero() || ended) {
			i.Out, i.Unhealthy = w.out, w.unhealthy
		}
		all = append(all, i)
	}
	return all
}

// place finds the server of an instance, or returns why it has none.
func (c *Config) place(i *Instance, w workload, o offer, d upstream.Defaults, origin string) error {
	if o.name == "" {
		i.Service, i.apart = cmp.Or(safetext.Cut(w.name, mostText), safetext.Cut(w.id, 12)), true
		return noName.Err()
	}
	if err := upstream.ValidName(o.name); err != nil {
		i.apart = true
		return err
	}
	if err := c.unwanted(o.name); err != nil {
		i.apart = true
		return err
	}
	i.Server = d.For(o.name).Server()
	i.Server.Origin = origin
	var err error
	if i.Port, err = portOf(w, o, c.Address == published); err != nil {
		return err
	}
	ip, port, err := c.addressOf(w, i.Port)
	if err != nil {
		return err
	}
	if i.Server.Addr, err = upstream.AddrFrom(ip, port); err != nil {
		return err
	}
	if err := weightOf(w, &i.Server); err != nil {
		return err
	}
	if err := i.Server.Valid(); err != nil {
		return err
	}
	i.Reached = true
	return unwished(w)
}

// unwished returns who excludes a reachable container from traffic, or nil.
func unwished(w workload) error {
	switch on := w.labels["swallowkeeper.enable"]; on {
	case "", "true":
	case "false":
		return notEnabled.Err()
	default:
		return badLabel.Err("swallowkeeper.enable", safetext.Quote(on), "true or false")
	}
	if w.setting("SERVICE_IGNORE") != "" {
		return isIgnored.Err()
	}
	if proto := w.setting("VIRTUAL_PROTO"); proto != "" && proto != "http" {
		return badLabel.Err("VIRTUAL_PROTO", safetext.Quote(proto), "http")
	}
	// nginx-proxy lets internal addresses alone in then. A gateway of ours would let in everybody.
	if access := w.setting("NETWORK_ACCESS"); access != "" && access != "external" && len(ownRoutes(w)) == 0 {
		return badLabel.Err("NETWORK_ACCESS", safetext.Quote(access), "external; or set swallowkeeper.route")
	}
	return nil
}

// unwanted returns why a service is excluded, or nil.
func (c *Config) unwanted(name string) error {
	if len(c.Include) > 0 && !matches(c.Include, name) {
		return notIncluded.Err()
	}
	if matches(c.Exclude, name) {
		return isExcluded.Err()
	}
	return nil
}

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		is, err := path.Match(g, name)
		return err == nil && is
	})
}

func weightOf(w workload, s *upstream.Server) error {
	value, is := w.labels["swallowkeeper.weight"]
	if !is {
		return nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > upstream.MaxWeight {
		return badLabel.Err("swallowkeeper.weight", safetext.Quote(value), "a number from 1 to "+strconv.Itoa(upstream.MaxWeight))
	}
	s.Weight = n
	return nil
}

// defaultPort is nginx-proxy's default if a container exposes several ports.
const defaultPort = 80

// portOf returns the port in the container: the configured one, or the only one.
func portOf(w workload, o offer, mustBePublished bool) (int, error) {
	if o.port != "" {
		n, err := strconv.Atoi(o.port)
		if err != nil || n < 1 || n > 65535 {
			return 0, badLabel.Err(o.portFrom, safetext.Quote(o.port), "a port from 1 to 65535")
		}
		return n, nil
	}
	ports := w.exposed
	if mustBePublished && !w.onHost {
		var open []int
		for _, b := range w.bindings {
			open = append(open, b.private)
		}
		slices.Sort(open)
		if open = slices.Compact(open); len(open) > 0 {
			ports = open
		}
	}
	switch {
	case len(ports) == 0:
		return 0, noPort.Err()
	case len(ports) == 1:
		return ports[0], nil
	case w.setting("VIRTUAL_HOST") != "" && slices.Contains(ports, defaultPort):
		return defaultPort, nil
	}
	return 0, manyPorts.Err(listed(ports))
}

// listed joins numbers or names: 80, 443 and 9000.
func listed[T int | string](all []T) string {
	var b strings.Builder
	for i, one := range all {
		switch {
		case i == 0:
		case i == len(all)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		switch one := any(one).(type) {
		case int:
			b.WriteString(strconv.Itoa(one))
		case string:
			b.WriteString(one)
		}
	}
	return safetext.Cut(b.String(), mostText)
}

// addressOf returns where a port of a container is reached.
func (c *Config) addressOf(w workload, port int) (netip.Addr, int, error) {
	machine, err := netip.ParseAddr(c.HostIP)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	if w.onHost {
		return machine, port, nil
	}
	if c.Address == published {
		for _, b := range w.bindings {
			if b.private != port {
				continue
			}
			if b.special() {
				return b.ip, b.public, nil
			}
			return machine, b.public, nil
		}
		if slices.Contains(w.meshed, port) {
			return netip.Addr{}, 0, isMeshed.Err(port)
		}
		return netip.Addr{}, 0, notPublished.Err(port)
	}
	a, err := c.network(w)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	return a.addrs[0], port, nil
}

// network returns the network on which a container is reached: that of its label, the first configured one that it is
// on, or its only one.
func (c *Config) network(w workload) (attachment, error) {
	find := func(name string) int {
		return slices.IndexFunc(w.networks, func(a attachment) bool { return a.name == name })
	}
	names := make([]string, 0, len(w.networks))
	for _, a := range w.networks {
		names = append(names, a.name)
	}
	if want := w.labels["swallowkeeper.network"]; want != "" {
		at := find(want)
		if project := w.labels["com.docker.compose.project"]; at < 0 && project != "" {
			at = find(project + "_" + want) // the name that compose gives a network of its file
		}
		if at < 0 {
			return attachment{}, notOnNetwork.Err(safetext.Quote(want), cmp.Or(listed(names), "-"))
		}
		return w.networks[at], nil
	}
	for _, name := range c.Networks {
		if at := find(name); at >= 0 {
			return w.networks[at], nil
		}
	}
	switch len(w.networks) {
	case 0:
		return attachment{}, noNetwork.Err()
	case 1:
		return w.networks[0], nil
	}
	return attachment{}, manyNetworks.Err(len(w.networks), listed(names))
}
