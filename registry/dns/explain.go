package dns

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/reason"
	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

// Explain queries the name of an upstream, and explains each record.
func (r *Registry) Explain(ctx context.Context, name string) ([]upstream.Finding, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	var found []upstream.Finding
	for _, e := range r.fresh() {
		if !upstream.SameName(e.name, name) {
			continue
		}
		l, nx, err := c.lookup(ctx, e.service)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		found = append(found, r.judge(e, r.watched(e.name), l, nx, err)...)
	}
	slices.SortStableFunc(found, func(a, b upstream.Finding) int { return cmp.Compare(a.Addr, b.Addr) })
	return found, nil
}

// past is what the watch knows about a name.
type past struct {
	state
	since time.Time
	nx    int
	part  bool
}

func (r *Registry) watched(name string) past {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.name == name {
			return past{e.state, e.since, e.nx, e.parts.shown}
		}
	}
	return past{}
}

// judge explains a new answer, compared to what was known before.
func (r *Registry) judge(e *entry, before past, l listed, nx string, err error) (found []upstream.Finding) {
	why := reason.Of(err)
	if nx != "" {
		why = nxdomain.With(shown(e.service.Query), nx)
	}
	switch {
	case nx != "" && before.gone:
		return []upstream.Finding{{Reason: isGone.With(shown(e.service.Query), before.nx)}}
	case !why.IsZero() && !before.known:
		return []upstream.Finding{{Reason: kept.With(why)}}
	case !why.IsZero():
		since := before.since
		if since.IsZero() {
			since = time.Now()
		}
		stays := lastIn.With(when(since), why)
		for _, s := range before.upstream.Servers {
			found = append(found, upstream.Finding{Addr: s.Addr.String(), In: true, Reason: stays})
		}
		if found == nil {
			found = []upstream.Finding{{Reason: stays}}
		}
		return found
	case len(l.records) == 0:
		return []upstream.Finding{{Reason: isEmpty.With(shown(e.service.Query), e.service.Record)}}
	}
	u, outs := l.upstream(e.name, e.service, r.defaults, r.name)
	var part reason.Reason
	if before.part {
		part = inPart.With(len(l.records))
	}
	for _, s := range u.Servers {
		i := slices.IndexFunc(l.records, func(of record) bool { return of.serves(s.Addr) })
		found = append(found, upstream.Finding{Addr: s.Addr.String(), In: true, Reason: reason.Join(l.records[i].in(e.service, r.every()), part)})
	}
	for _, o := range outs {
		found = append(found, upstream.Finding{Addr: o.Addr, Reason: o.Reason})
	}
	return found
}

func (r record) serves(at netip.AddrPort) bool { return r.shown() == at.String() }

// examined is how often doctor queries a name whose answers differ.
const examined = partAnswers

// Examine queries each name, repeatedly if the answers differ, and returns what is set up wrong.
func (r *Registry) Examine(ctx context.Context) (registry.Examination, error) {
	c, err := r.client()
	if err != nil {
		return registry.Examination{}, err
	}
	entries := r.fresh()
	virtual := make([]bool, len(entries))
	var asking sync.WaitGroup
	for i, e := range entries {
		asking.Go(func() {
			for n := range examined {
				l, nx, err := c.lookup(ctx, e.service)
				e.note(r, l, nx, err)
				if last := e.parts.last; len(l.records) == 0 || len(last) != n+1 || n > 0 && slices.Equal(last[n], last[n-1]) {
					break
				}
			}
			virtual[i] = c.isVirtual(ctx, e)
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return registry.Examination{}, ctx.Err()
	}
	set, err := assemble(entries)
	if err != nil && !poll.IsPartial(err) {
		return registry.Examination{}, err
	}
	return registry.Examination{Set: set, Findings: findings(c.servers[0], entries, virtual)}, nil
}

// mostPlaces is the maximum number of names in a finding.
const mostPlaces = 10

func findings(server string, entries []*entry, virtual []bool) (found []finding.Finding) {
	var unknown, part, one []string
	dig := ""
	for i, e := range entries {
		query := safetext.Quote(e.service.Query)
		switch {
		case !e.why.IsZero():
			unknown = append(unknown, e.name+": "+e.why.String())
			if dig == "" {
				dig = digging(server, e.service)
			}
		case e.parts.shown:
			part = append(part, e.name+": "+query)
		case virtual[i]:
			one = append(one, e.name+": "+query)
		}
	}
	add := func(f finding.Finding, places []string) {
		if n := len(places); n > 0 {
			f.What = finding.Many(n, "name") + " " + f.What
			f.Severity, f.Places = finding.Warning, places[:min(n, mostPlaces)]
			found = append(found, f)
		}
	}
	add(finding.Finding{
		Check: "dns-unknown", What: "can't be looked up", Why: "Their servers stay as they are written, also where they are gone.",
		Change: dig + " shows the same: correct query or record, or bring the service back; where it is gone for good, take its table out, or set nxdomain = \"gone\"",
	}, unknown)
	add(finding.Finding{
		Check: "dns-part", What: "get other records with each answer, and always as many", Why: "The server seems to answer with a part of them: servers come and go all the time.",
		Change: "Have it answer with all of them, such as dns_config.a_record_limit = 0 of Consul, or read the registry behind it",
	}, part)
	add(finding.Finding{
		Check: "dns-virtual", What: "lead to a virtual IP of Docker's", Why: "Connections that are kept open stick to one replica, and a dead one is seen by nobody.",
		Change: "query = \"tasks.NAME\", which has the address of each replica",
	}, one)
	return found
}

// digging returns the dig command for the same question.
func digging(server string, s *Service) string {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return ""
	}
	command := "dig @" + host
	if port != "53" {
		command += " -p " + port
	}
	kind, _, _ := strings.Cut(s.Record, "+")
	return command + " " + shown(s.Query) + " " + kind
}

// docker is the address of Docker's server in containers.
const docker = "127.0.0.11:53"

// isVirtual reports whether a name in Docker has the virtual address of a service instead of the addresses of its
// tasks.
func (c *client) isVirtual(ctx context.Context, e *entry) bool {
	name := dns.CanonicalName(e.service.Query)
	if !slices.Contains(c.servers, docker) || len(e.records) != 1 || e.service.Record == recordSRV || strings.HasPrefix(name, "tasks.") {
		return false
	}
	tasks, err := c.ask(ctx, question{"tasks." + name, dns.TypeA})
	return err == nil && len(tasks.addrs) > 0 && !slices.Contains(tasks.addrs, e.records[0].addr)
}
