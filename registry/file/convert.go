package file

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// upstream makes one of an entry. What is not right puts a server out, and none beside it; without a name that nginx
// takes there is none at all.
func (e entry) upstream(d upstream.Defaults, origin string) (u upstream.Upstream, out []upstream.Out, named bool) {
	if err := upstream.ValidName(e.Name); err != nil {
		return u, []upstream.Out{{Service: safetext.Cut(e.Name, mostText), Reason: err.Error()}}, false
	}
	template := d.For(e.Name)
	u = upstream.Upstream{Name: e.Name, Options: template.Options}
	refused := e.options(&u.Options)
	for _, s := range e.Servers {
		made, err := s.server(template, u.Options.Method)
		if refused != nil {
			err = refused
		}
		if err != nil {
			out = append(out, upstream.Out{
				Service: e.Name, Upstream: e.Name, Addr: safetext.Cut(s.Address, mostText), Reason: err.Error(), Unhealthy: errors.Is(err, errUnhealthy),
			})
			continue
		}
		made.Origin = origin
		u.Servers = append(u.Servers, made)
	}
	return u, out, true
}

func (e entry) options(o *upstream.Options) error {
	set(&o.Keepalive, e.Keepalive)
	if o.Keepalive < 0 || o.Keepalive > upstream.MaxCount {
		return fmt.Errorf("keepalive %d is not between 0 and %d", o.Keepalive, upstream.MaxCount)
	}
	if e.Method != nil {
		o.Method = *e.Method
	}
	return upstream.ValidMethod(o.Method)
}

var errUnhealthy = errors.New("its file says healthy = false")

func (s server) server(template upstream.Template, method string) (upstream.Server, error) {
	made := template.Server()
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return made, fmt.Errorf("%s is no address with a port", safetext.Quote(s.Address))
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return made, fmt.Errorf("%s is no port", safetext.Quote(port))
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
		return made, fmt.Errorf("the balancing method %s takes no backup servers", method)
	}
	if s.Healthy != nil && !*s.Healthy {
		return made, errUnhealthy
	}
	return made, nil
}

// mostText bounds what a file says and is kept, in bytes.
const mostText = 80

func set(to, from *int) {
	if from != nil {
		*to = *from
	}
}

// standsIn says where an instance comes from.
func standsIn(s source) string { return "it stands in file " + safetext.Quote(s.base()) }
