package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"swallowkeeper/doctor/access"
	"swallowkeeper/doctor/nginxtree"
)

const steers = "Whoever reaches it steers the traffic: any request can be sent to any server, and a worker can be killed."

// checkOpen checks whether other machines can reach the API, which has no access control of its own.
func (r *report) checkOpen(a *api) {
	v := access.Who(r.facts.Nginx, a.block)
	if v.Reach == access.Closed {
		return
	}
	f := Finding{
		Check: "interface-open", Severity: Problem, Where: a.server.Where(),
		What: "Other machines can reach the dyups interface: its server has no listen, so it " +
			"listens on port 80 of all addresses",
		Why: steers,
		Change: "listen 127.0.0.1:18882;   # or unix:/run/dyups.sock; or, in the location: " +
			"allow 127.0.0.1; allow ::1; deny all;",
	}
	if at := v.Listen.At; at != nil {
		f.Where, f.Now = at.Where(), at.String()
		f.What = fmt.Sprintf("Other machines can reach the dyups interface (%s) on %s", a.at.Where(), v.Listen)
		f.Change = fmt.Sprintf("listen 127.0.0.1:%d;   # or, in the location: allow 127.0.0.1; "+
			"allow ::1; deny all;", v.Listen.Port)
	}
	r.add(judged(f, v, a.block))
}

// judged adds to a finding why access is granted.
func judged(f Finding, v access.Verdict, block *nginxtree.Directive) Finding {
	switch {
	case v.Reach == access.Trusted:
		f.Severity = Warning
		f.What += ": all of a network can say that they have an address that is allowed"
	case v.Reach == access.Reading:
		f.Severity = Warning
		f.What += " and read what it tells, though they can't change it"
		f.Why = "It tells which services there are, and where each server is."
	case v.Reach == access.Unclear:
		f.Severity = Warning
		f.What = strings.Replace(f.What, "can reach", "may reach", 1)
		f.Why += " Whether they can depends on what is decided outside of the configuration."
	case v.By != nil:
		f.What += ": whoever connects can say that he has an address that is allowed"
	case block.Value("auth_basic", "off") != "off" && block.Value("auth_basic_user_file", "") == "":
		f.What += ": auth_basic asks nobody without an auth_basic_user_file"
	case len(block.Inherited("allow", "deny")) > 0:
		f.What += fmt.Sprintf(": the rules let in %s, for example", v.Example)
	}
	if v.By != nil && v.Reach != access.Unclear {
		f.Where, f.Now = v.By.Where(), v.By.String()
		f.Why += " nginx takes the client's address from " + header(v.By) + " where it believes who connects."
		f.Change = "set_real_ip_from PROXY;   # the proxy's own address alone; or have the interface listen on " +
			"127.0.0.1 or a socket"
	}
	if v.By != nil && v.Reach == access.Unclear {
		f.Where, f.Now = v.By.Where(), v.By.String()
	}
	return f
}

// header returns the header from which nginx takes the client's address.
func header(from *nginxtree.Directive) string {
	name := from.Parent.Value("real_ip_header", "X-Real-IP")
	if strings.EqualFold(name, "proxy_protocol") {
		return "the PROXY line"
	}
	return "the header " + name
}

// checkForwarded reports places where this nginx forwards requests to the API. To the API they come from this machine.
func (r *report) checkForwarded(a *api) {
	for _, l := range access.Listens(a.server) {
		from := netip.MustParseAddr("127.0.0.1")
		if l.Socket != "" {
			from = netip.Addr{}
		}
		var passes []*nginxtree.Directive
		r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
			if d.Name() == "proxy_pass" && len(d.Args) == 2 && d.Around("server") != a.server && r.leadsTo(d, l) {
				passes = append(passes, d)
			}
		})
		if len(passes) == 0 || !access.Lets(r.facts.Nginx, a.block, l, from) {
			continue
		}
		for _, d := range passes {
			v := access.Forwards(r.facts.Nginx, d)
			if v.Reach == access.Closed {
				continue
			}
			f := Finding{
				Check: "interface-open", Severity: Problem, Where: d.Where(), Now: d.String(),
				What:   fmt.Sprintf("Other machines can reach the dyups interface (%s) through a proxy_pass", a.at.Where()),
				Why:    steers,
				Change: "Take the line out, or in its location: allow 127.0.0.1; allow ::1; deny all;",
			}
			r.add(judged(f, v, d.Parent))
		}
	}
}

// leadsTo reports whether a proxy_pass points to a listener of this nginx.
func (r *report) leadsTo(d *nginxtree.Directive, l access.Listen) bool {
	_, host, ok := strings.Cut(d.Args[1], "://")
	if !ok {
		return false
	}
	if !strings.HasPrefix(host, "unix:") {
		host, _, _ = strings.Cut(host, "/")
	}
	found := isAt(host, l)
	r.facts.Nginx.Walk(func(u *nginxtree.Directive) {
		if u.Name() != "upstream" || len(u.Args) != 2 || u.Args[1] != host || !inHTTP(u) {
			return
		}
		for _, s := range u.Children("server") {
			found = found || len(s.Args) > 1 && isAt(s.Args[1], l)
		}
	})
	return found
}

// isAt reports whether a host and port, or unix:PATH:, is the listener on this machine.
func isAt(address string, l access.Listen) bool {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		path, _, _ = strings.Cut(path, ":")
		return l.Socket != "" && l.Socket == path
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "80"
	}
	if l.Socket != "" || port != fmt.Sprint(l.Port) {
		return false
	}
	if host == l.Host || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	own, ownErr := netip.ParseAddr(l.Host)
	return err == nil && addr.IsLoopback() && (l.Host == "" || ownErr == nil && own.IsUnspecified())
}
