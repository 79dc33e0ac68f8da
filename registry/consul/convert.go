package consul

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// lookup resolves a host name.
type lookup func(host string) ([]netip.Addr, error)

// converter converts instances to upstreams. It is as pure as its lookup.
type converter struct {
	cfg    *Config
	origin string
	lookup lookup
}

// service returns the upstreams of a service: one with its name, and one for each canary. It also lists each instance
// that is out, and why. A bad value only puts its own instance out.
func (c converter) service(name string, entries []*api.ServiceEntry) ([]upstream.Upstream, []upstream.Out) {
	if err := upstream.ValidName(name); err != nil {
		return nil, []upstream.Out{{Service: safetext.Cut(name, mostText), Reason: reason.Of(err)}}
	}
	groups := map[string]*upstream.Upstream{"": c.group(name, "")}
	var out []upstream.Out
	var says []upstream.InstanceRoutes
	for _, e := range entries {
		if e != nil && e.Service != nil && e.Service.Service != name {
			// Instance queries ignore case in names, but the list does not. Each of two such names gets the instances
			// of both.
			continue
		}
		i := instance{entry: e}
		if err := c.instance(name, groups, &i); err != nil {
			o := upstream.Out{
				Service: name, Upstream: i.upstream, Addr: i.shownAddr(), Reason: reason.Of(err), Unknown: i.unknown,
			}
			if failed := (*failedCheck)(nil); errors.As(err, &failed) {
				o.Instance, o.Node, o.Output = safetext.Cut(e.Service.ID, mostText), safetext.Cut(e.Node.Node, mostText), outputLine(failed.check.Output)
				o.Unhealthy = severity(failed.check) < maintenance
			}
			out = append(out, o)
		}
		if i.upstream == name && i.counted && saysRoutes(e) { // a canary registers no routes: requests go to its service
			says = append(says, c.says(name, &i))
		}
	}
	var bad []upstream.Out
	if says != nil {
		groups[""].Routes, bad = upstream.RoutesOf(name, name, says)
	}
	list := make([]upstream.Upstream, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b upstream.Upstream) int { return cmp.Compare(a.Name, b.Name) })
	// An address that is registered twice is in if any of its instances is.
	out = slices.DeleteFunc(out, func(o upstream.Out) bool { return serves(list, o.Upstream, o.Addr) })
	return list, append(out, bad...)
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

// instance is an instance being converted.
type instance struct {
	entry    *api.ServiceEntry
	upstream string
	host     string
	port     int
	unknown  string // host and port, if the host can't be resolved
	counted  bool   // it belongs to its upstream, usable or not
}

// locate uses the registered address, or the node's if the service has none.
func (i *instance) locate() {
	i.host, i.port = cmp.Or(i.entry.Service.Address, i.entry.Node.Address), i.entry.Service.DefaultPort()
}

func (i *instance) hostPort() string { return net.JoinHostPort(i.host, strconv.Itoa(i.port)) }

// instance adds the servers of an instance to its group, or returns why it is out.
func (c converter) instance(service string, groups map[string]*upstream.Upstream, i *instance) error {
	e := i.entry
	if e == nil || e.Service == nil || e.Node == nil {
		return incomplete.Err()
	}
	i.upstream = service
	i.locate()
	if !anyMatch(c.cfg.Tags, e.Service.Tags) {
		return notTagged.Err()
	}
	canary, err := c.canary(e.Service.Tags)
	if err != nil {
		return err
	}
	g := groups[canary]
	if g == nil {
		g = c.group(service, canary)
		if err := upstream.ValidName(g.Name); err != nil {
			return badTag.Err(safetext.Quote(c.cfg.CanaryTag+"="+canary), err)
		}
		groups[canary] = g
	}
	i.upstream, i.counted = g.Name, true

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
		return noBackups.Err(metaBackup, g.Options.Method)
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

// canary returns the value of the canary tag, or "".
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
			return "", emptyTag.Err(safetext.Quote(tag))
		case found != "" && found != value:
			return "", tagsDisagree.Err(safetext.Quote(c.cfg.CanaryTag+"="+found), safetext.Quote(tag))
		default:
			found = value
		}
	}
	if found == "default" {
		return "", nil
	}
	return found, nil
}

// usable returns why an instance must not be used, or whether it is at warning. Its state is the worst of its node's
// checks and its own. Maintenance is a critical check.
func (c converter) usable(e *api.ServiceEntry) (warning bool, err error) {
	var worst *api.HealthCheck
	for _, check := range e.Checks {
		if check == nil {
			return false, noState.Err()
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

// failedCheck is the error of an instance that is out because of a check.
type failedCheck struct {
	check *api.HealthCheck
	node  string
}

func (f *failedCheck) Error() string { return f.Reason().String() }

// Reason is used by [reason.Of].
func (f *failedCheck) Reason() reason.Reason { return describeCheck(f.check, f.node) }

// outputLine returns the output of a check as one short line, as it may be a page of HTML. It is a copy, so that it
// does not keep the whole output in memory.
func outputLine(output string) string {
	const most, looked = 200 - len("…"), 4096
	output = safetext.Cut(safetext.Words(output[:min(len(output), looked)]), most)
	return strings.Clone(output)
}

const maintenance = 2

// severity orders maintenance above critical above warning. An unknown state counts as critical.
func severity(c *api.HealthCheck) int {
	switch {
	case c.CheckID == api.NodeMaint || strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
		return maintenance
	case c.Status == api.HealthWarning:
		return 0
	}
	return 1
}

func describeCheck(c *api.HealthCheck, node string) reason.Reason {
	name := safetext.Quote(cmp.Or(c.Name, c.CheckID))
	node = safetext.Name(node)
	state := c.Status
	if state != api.HealthCritical && state != api.HealthWarning {
		state = safetext.Quote(state)
	}
	switch {
	case c.CheckID == api.NodeMaint && c.Notes != "":
		return nodeMaintainedFor.With(node, safetext.Quote(c.Notes))
	case c.CheckID == api.NodeMaint:
		return nodeMaintained.With(node)
	case strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix) && c.Notes != "":
		return maintainedFor.With(safetext.Quote(c.Notes))
	case strings.HasPrefix(c.CheckID, api.ServiceMaintPrefix):
		return maintained.With()
	case c.ServiceID == "":
		return nodeCheckIs.With(name, node, state)
	}
	return checkIs.With(name, state)
}

// weigh applies Consul's weight if somebody set one. Its default of 1 keeps ours.
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
		return badWeight.Err(name, value, upstream.MaxWeight)
	case value != 1 || warning:
		s.Weight = value
	}
	return nil
}

// addresses returns where nginx connects to: the registered address, or those of the registered host name.
func (c converter) addresses(i *instance) ([]netip.AddrPort, error) {
	if i.host == "" {
		return nil, noAddress.Err()
	}
	if !isHostName(i.host) {
		a, err := upstream.ParseAddr(i.host, i.port)
		if err != nil {
			return nil, err
		}
		return []netip.AddrPort{a}, nil
	}
	if !c.cfg.HostNames {
		return nil, namesOff.Err(safetext.Quote(i.host))
	}
	found, err := c.lookup(i.host)
	if err != nil {
		i.unknown = i.hostPort()
		return nil, lookupFailed.Err(safetext.Quote(i.host), err)
	}
	var addrs []netip.AddrPort
	for _, ip := range found {
		a, err := upstream.AddrFrom(ip, i.port)
		if err != nil {
			return nil, badAddress.Err(safetext.Quote(i.host), err)
		}
		addrs = append(addrs, a)
	}
	if len(addrs) == 0 {
		return nil, hostless.Err(safetext.Quote(i.host))
	}
	return addrs, nil
}

// hostForm excludes names that end in a number, as resolvers may take them for addresses.
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

// hostNames returns the host names of the instances, without duplicates.
func hostNames(entries []*api.ServiceEntry) []string {
	var names []string
	for _, e := range entries {
		if host := cmp.Or(e.Service.Address, e.Node.Address); isHostName(host) && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	return names
}

// shownAddr returns host:port as registered, shortened if it is not an address.
func (i *instance) shownAddr() string {
	if i.host == "" {
		return ""
	}
	if a, err := upstream.ParseAddr(i.host, i.port); err == nil {
		return a.String()
	}
	return net.JoinHostPort(safetext.Cut(strings.Trim(i.host, "[]"), mostText), strconv.Itoa(i.port))
}

// anyMatch reports whether any value matches any glob. No globs match everything.
func anyMatch(globs, values []string) bool {
	return len(globs) == 0 || slices.ContainsFunc(values, func(v string) bool { return matches(globs, v) })
}

func matches(globs []string, value string) bool {
	_, ok := matching(globs, value)
	return ok
}

// matching returns the first matching glob.
func matching(globs []string, value string) (glob string, ok bool) {
	i := slices.IndexFunc(globs, func(g string) bool {
		// Unlike in path.Match, * also matches /.
		ok, err := path.Match(strings.ReplaceAll(g, "/", "\x01"), strings.ReplaceAll(value, "/", "\x01"))
		return err == nil && ok
	})
	if i < 0 {
		return "", false
	}
	return globs[i], true
}
