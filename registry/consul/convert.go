package consul

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// lookup finds the addresses of a host name.
type lookup func(host string) ([]netip.Addr, error)

// converter makes upstreams of instances. It is pure as far as its lookup is.
type converter struct {
	cfg    *Config
	origin string
	lookup lookup
}

// service makes the upstreams of one service: the one of its name, and one more for each
// canary. It also lists each instance that gets no traffic, and why. Whatever an
// instance says that is not right puts that instance out, and none beside it.
func (c converter) service(name string, entries []*api.ServiceEntry) ([]upstream.Upstream, []upstream.Out) {
	if err := upstream.ValidName(name); err != nil {
		return nil, []upstream.Out{{Service: safetext.Cut(name, mostText), Reason: err.Error()}}
	}
	groups := map[string]*upstream.Upstream{"": c.group(name, "")}
	var out []upstream.Out
	for _, e := range entries {
		if e != nil && e.Service != nil && e.Service.Service != name {
			// Consul takes names that differ only in case for one service here, and for two
			// in its list. Each is answered with the instances of both.
			continue
		}
		i := instance{entry: e}
		if err := c.instance(name, groups, &i); err != nil {
			o := upstream.Out{
				Service: name, Upstream: i.upstream, Addr: i.shownAddr(), Reason: err.Error(), Unknown: i.unknown,
			}
			if failed := (*failedCheck)(nil); errors.As(err, &failed) {
				o.Instance, o.Node, o.Output = safetext.Cut(e.Service.ID, mostText), safetext.Cut(e.Node.Node, mostText), said(failed.check.Output)
				o.Unhealthy = severity(failed.check) < maintenance
			}
			out = append(out, o)
		}
	}
	list := make([]upstream.Upstream, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b upstream.Upstream) int { return cmp.Compare(a.Name, b.Name) })
	// One address that is registered twice is in as long as one of its instances is.
	out = slices.DeleteFunc(out, func(o upstream.Out) bool { return serves(list, o.Upstream, o.Addr) })
	return list, out
}

func serves(list []upstream.Upstream, name, addr string) bool {
	return slices.ContainsFunc(list, func(u upstream.Upstream) bool {
		return u.Name == name && slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr.String() == addr })
	})
}

func (c converter) group(service, canary string) *upstream.Upstream {
	u := upstream.Upstream{Name: service, Canary: canary}
	if canary != "" {
		u.Name = service + "_" + canary
	}
	u.Options = c.cfg.Defaults.For(u.Name).Options
	return &u
}

// instance is one of them on its way, with what is known of it so far.
type instance struct {
	entry    *api.ServiceEntry
	upstream string
	host     string
	port     int
	unknown  string // host and port, where the host's addresses can't be told
}

// locate takes over the address as registered, the node's where the service has none.
func (i *instance) locate() {
	i.host, i.port = cmp.Or(i.entry.Service.Address, i.entry.Node.Address), i.entry.Service.DefaultPort()
}

func (i *instance) hostPort() string { return net.JoinHostPort(i.host, strconv.Itoa(i.port)) }

// instance adds the servers of one instance to its group, or says why it gets none.
func (c converter) instance(service string, groups map[string]*upstream.Upstream, i *instance) error {
	e := i.entry
	if e == nil || e.Service == nil || e.Node == nil {
		return fmt.Errorf("the answer lacks its service or its node")
	}
	i.upstream = service
	i.locate()
	if !anyMatch(c.cfg.Tags, e.Service.Tags) {
		return fmt.Errorf("no tag matches the wanted ones")
	}
	canary, err := c.canary(e.Service.Tags)
	if err != nil {
		return err
	}
	g := groups[canary]
	if g == nil {
		g = c.group(service, canary)
		if err := upstream.ValidName(g.Name); err != nil {
			return fmt.Errorf("tag %s: %w", safetext.Quote(c.cfg.CanaryTag+"="+canary), err)
		}
		groups[canary] = g
	}
	i.upstream = g.Name

	server := c.cfg.Defaults.For(g.Name).Server()
	server.Origin = c.origin
	warning, err := c.usable(e)
	if err != nil {
		return err
	}
	if err := weigh(&server, e.Service.Weights, warning); err != nil {
		return err
	}
	if err := applyMeta(&server, e.Service.Meta); err != nil {
		return err
	}
	if server.Backup && !upstream.TakesBackup(g.Options.Method) {
		return fmt.Errorf("meta %s: the balancing method %s takes no backup servers", metaBackup, g.Options.Method)
	}
	addrs, err := c.addresses(i)
	if err != nil {
		return err
	}
	if isHostName(i.host) {
		server.Host = i.hostPort()
	}
	for _, a := range addrs {
		server.Addr = a
		if err := server.Valid(); err != nil {
			return err
		}
		g.Servers = append(g.Servers, server)
	}
	return nil
}

// canary finds the value of the canary tag; "" is none.
func (c converter) canary(tags []string) (string, error) {
	if c.cfg.CanaryTag == "" {
		return "", nil
	}
	found := ""
	for _, tag := range tags {
		value, ok := strings.CutPrefix(tag, c.cfg.CanaryTag+"=")
		switch {
		case !ok:
		case value == "":
			return "", fmt.Errorf("tag %s has no value", safetext.Quote(tag))
		case found != "" && found != value:
			return "", fmt.Errorf("two tags contradict each other: %s and %s",
				safetext.Quote(c.cfg.CanaryTag+"="+found), safetext.Quote(tag))
		default:
			found = value
		}
	}
	if found == "default" {
		return "", nil
	}
	return found, nil
}

// usable says why an instance must not be used, or whether it is at warning. Its state is
// the worst of its node's checks and its own, and maintenance is a critical check.
func (c converter) usable(e *api.ServiceEntry) (warning bool, err error) {
	var worst *api.HealthCheck
	for _, check := range e.Checks {
		if check == nil {
			return false, fmt.Errorf("the answer has a check without a state")
		}
		if check.Status == api.HealthPassing {
			continue
		}
		if worst == nil || cmp.Or(cmp.Compare(severity(check), severity(worst)), cmp.Compare(worst.CheckID, check.CheckID)) > 0 {
			worst = check
		}
	}
	switch {
	case worst == nil:
		return false, nil
	case worst.Status == api.HealthWarning && c.cfg.Health == "warning":
		return true, nil
	}
	return false, &failedCheck{check: worst, node: e.Node.Node}
}

// failedCheck is why an instance is out by one of its checks.
type failedCheck struct {
	check *api.HealthCheck
	node  string
}

func (f *failedCheck) Error() string { return describeCheck(f.check, f.node) }

// said is what a check said, made one short line: it may be a page of HTML. It is a copy, so that it does not keep the
// whole alive.
func said(output string) string {
	const most, looked = 200 - len("…"), 4096
	output = safetext.Cut(safetext.Words(output[:min(len(output), looked)]), most)
	return strings.Clone(output)
}

const maintenance = 2

// severity orders maintenance above critical above warning. A state that is unknown here
// is as bad as critical.
func severity(c *api.HealthCheck) int {
	switch {
	case c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
		return maintenance
	case c.Status == api.HealthWarning:
		return 0
	}
	return 1
}

func describeCheck(c *api.HealthCheck, node string) string {
	name := safetext.Quote(cmp.Or(c.Name, c.CheckID))
	why := ""
	if c.Notes != "" {
		why = ": " + safetext.Quote(c.Notes)
	}
	state := c.Status
	if state != api.HealthCritical && state != api.HealthWarning {
		state = safetext.Quote(state)
	}
	switch {
	case c.CheckID == api.NodeMaint:
		return "node " + safetext.Name(node) + " is in maintenance" + why
	case strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
		return "it is in maintenance" + why
	case c.ServiceID == "":
		return "check " + name + " of node " + safetext.Name(node) + " is " + state
	}
	return "check " + name + " is " + state
}

// weigh takes Consul's weight where somebody set one; its default of 1 leaves ours.
func weigh(s *upstream.Server, w api.AgentWeights, warning bool) error {
	if w == (api.AgentWeights{}) {
		return nil
	}
	value, name := w.Passing, "Weights.Passing"
	if warning {
		value, name = w.Warning, "Weights.Warning"
	}
	switch {
	case value < 1 || value > upstream.MaxWeight:
		return fmt.Errorf("%s is %d, not between 1 and %d", name, value, upstream.MaxWeight)
	case value != 1 || warning:
		s.Weight = value
	}
	return nil
}

// addresses are where nginx connects to: the registered address, or those that the
// registered host name has.
func (c converter) addresses(i *instance) ([]netip.AddrPort, error) {
	if i.host == "" {
		return nil, fmt.Errorf("neither the service nor its node has an address")
	}
	if !isHostName(i.host) {
		a, err := upstream.ParseAddr(i.host, i.port)
		if err != nil {
			return nil, err
		}
		return []netip.AddrPort{a}, nil
	}
	if !c.cfg.HostNames {
		return nil, fmt.Errorf("%s is a host name, and host_names is off", safetext.Quote(i.host))
	}
	found, err := c.lookup(i.host)
	if err != nil {
		i.unknown = i.hostPort()
		return nil, fmt.Errorf("look up %s: %w", safetext.Quote(i.host), err)
	}
	var addrs []netip.AddrPort
	for _, ip := range found {
		a, err := upstream.AddrFrom(ip, i.port)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", safetext.Quote(i.host), err)
		}
		addrs = append(addrs, a)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address", safetext.Quote(i.host))
	}
	return addrs, nil
}

// hostForm excludes what ends in a number, which resolvers may read as an address.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

func isHostName(s string) bool {
	if len(strings.TrimSuffix(s, ".")) > 253 || !hostForm.MatchString(s) {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	s = strings.TrimSuffix(s, ".")
	last := s[strings.LastIndexByte(s, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

// hostNames lists the names for which instances need the resolver, each once.
func hostNames(entries []*api.ServiceEntry) []string {
	var names []string
	for _, e := range entries {
		if host := cmp.Or(e.Service.Address, e.Node.Address); isHostName(host) && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	return names
}

// shownAddr is host:port as registered, cut where it is no address anyway.
func (i *instance) shownAddr() string {
	if i.host == "" {
		return ""
	}
	if a, err := upstream.ParseAddr(i.host, i.port); err == nil {
		return a.String()
	}
	return net.JoinHostPort(safetext.Cut(strings.Trim(i.host, "[]"), mostText), strconv.Itoa(i.port))
}

// anyMatch reports whether one of the values matches one of the globs; no globs match all.
func anyMatch(globs, values []string) bool {
	return len(globs) == 0 || slices.ContainsFunc(values, func(v string) bool { return matches(globs, v) })
}

func matches(globs []string, value string) bool {
	_, ok := matching(globs, value)
	return ok
}

// matching finds the first of the globs that matches.
func matching(globs []string, value string) (glob string, ok bool) {
	i := slices.IndexFunc(globs, func(g string) bool {
		// Unlike in a path, * matches / as well: it is any characters.
		ok, err := path.Match(strings.ReplaceAll(g, "/", "\x01"), strings.ReplaceAll(value, "/", "\x01"))
		return err == nil && ok
	})
	if i < 0 {
		return "", false
	}
	return globs[i], true
}
