package dns

import (
	"cmp"
	"net/netip"
	"slices"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// record is a server as listed by DNS.
type record struct {
	kind string // type of the record
	addr netip.Addr
	port int
	ttl  uint32
	// of an SRV record
	target           string
	priority, weight uint16
}

// listed is everything known about a name that exists, possibly without records.
type listed struct{ records []record }

// in returns why a server is in.
func (r record) in(s *Service, every string) reason.Reason {
	if r.kind == recordSRV {
		return inSRV.With(shown(s.Query), shown(r.target), r.priority, r.weight, every, r.ttl)
	}
	return inRecord.With(r.kind, shown(s.Query), every, r.ttl)
}

// upstream converts the records to an upstream; it is pure. A bad record only puts its own server out.
func (l listed) upstream(name string, s *Service, d upstream.Defaults, origin string) (upstream.Upstream, []upstream.Out) {
	template := d.For(name)
	u := upstream.Upstream{Name: name, Options: template.Options}
	records := slices.Clone(l.records)
	slices.SortFunc(records, func(a, b record) int { // of equal addresses, the best comes first
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(b.weight, a.weight), a.addr.Compare(b.addr), cmp.Compare(a.port, b.port), cmp.Compare(a.target, b.target))
	})
	have := map[netip.AddrPort]bool{}
	var out []upstream.Out
	for _, r := range records {
		server, err := r.server(template, s, records[0].priority, u.Options.Method)
		if err != nil {
			out = append(out, upstream.Out{Service: name, Upstream: name, Addr: r.shown(), Reason: reason.Of(err)})
			continue
		}
		if have[server.Addr] {
			continue
		}
		have[server.Addr] = true
		server.Origin = origin
		u.Servers = append(u.Servers, server)
	}
	out = slices.DeleteFunc(out, func(o upstream.Out) bool {
		return slices.ContainsFunc(u.Servers, func(s upstream.Server) bool { return s.Addr.String() == o.Addr })
	})
	return u, out
}

func (r record) shown() string { return netip.AddrPortFrom(r.addr, uint16(r.port)).String() } //nolint:gosec // a port

// server returns a record's server with its options. Of SRV records, those with the lowest priority serve, and the
// others are backups.
func (r record) server(t upstream.Template, s *Service, lowest uint16, method string) (upstream.Server, error) {
	server := t.Server()
	if r.kind == recordSRV && r.port == 0 {
		return server, noPort.Err(shown(s.Query), shown(r.target))
	}
	var err error
	if server.Addr, err = upstream.AddrFrom(r.addr, r.port); err != nil {
		return server, badRecord.Err(r.kind, shown(s.Query), err)
	}
	if r.kind == recordSRV {
		server.Weight = max(int(r.weight), 1)
		if server.Backup = r.priority > lowest; server.Backup && !upstream.TakesBackup(method) {
			return server, noBackups.Err(shown(s.Query), r.priority, method)
		}
	}
	return server, server.Valid()
}
