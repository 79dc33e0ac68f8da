package file

import (
	"errors"
	"net"
	"strconv"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// upstream converts an entry. An invalid server is left out without affecting the others. If the name is not valid in
// nginx, there is no upstream.
func (e entry) upstream(d upstream.Defaults, origin string) (u upstream.Upstream, out []upstream.Out, named bool) {
	if err := upstream.ValidName(e.Name); err != nil {
		return u, []upstream.Out{{Service: safetext.Cut(e.Name, maxText), Reason: reason.Of(err)}}, false
	}
	template := d.For(e.Name)
	u = upstream.Upstream{Name: e.Name, Options: e.options(template.Options)}
	for _, s := range e.Servers {
		made, err := s.server(template, u.Options.Method)
		if err != nil {
			out = append(out, upstream.Out{
				Service: e.Name, Upstream: e.Name, Addr: safetext.Cut(s.Address, maxText), Reason: reason.Of(err), Unhealthy: errors.Is(err, errUnhealthy),
			})
			continue
		}
		made.Origin = origin
		u.Servers = append(u.Servers, made)
	}
	says := upstream.InstanceRoutes{}
	for _, text := range e.Routes {
		r, err := route.Registered(text, e.Name, nil)
		if err != nil {
			says.Bad = append(says.Bad, route.Bad{Text: text, Err: err})
			continue
		}
		r.Origin = origin
		says.Routes = append(says.Routes, r)
	}
	routes, bad := upstream.RoutesOf(e.Name, e.Name, []upstream.InstanceRoutes{says})
	u.Routes = routes
	return u, append(out, bad...), true
}

// options returns the entry's options; o has the defaults.
func (e entry) options(o upstream.Options) upstream.Options {
	set(&o.Keepalive, e.Keepalive)
	if e.Method != nil {
		o.Method = *e.Method
	}
	return o
}

var errUnhealthy = unhealthy.Err()

func (s server) server(template upstream.Template, method string) (upstream.Server, error) {
	made := template.Server()
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return made, noAddress.Err(safetext.Quote(s.Address))
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return made, noPort.Err(safetext.Quote(port))
	}
	if made.Addr, err = upstream.ParseAddr(host, n); err != nil {
		return made, err
	}
	set(&made.Weight, s.Weight)
	set(&made.MaxFails, s.MaxFails)
	set(&made.MaxConns, s.MaxConns)
	if s.FailTimeout != nil {
		made.FailTimeout = s.FailTimeout.Duration
	}
	made.Backup = s.Backup
	if err := made.Valid(); err != nil {
		return made, err
	}
	if made.Backup && !upstream.TakesBackup(method) {
		return made, noBackups.Err(method)
	}
	if s.Healthy != nil && !*s.Healthy {
		return made, errUnhealthy
	}
	return made, nil
}

// maxText limits how much text from a file is kept, in bytes.
const maxText = 80

func set(to, from *int) {
	if from != nil {
		*to = *from
	}
}

// standsIn returns the file that an instance comes from.
func standsIn(s source) reason.Reason { return inFile.With(safetext.Quote(s.base())) }
