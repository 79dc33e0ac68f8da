package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/miekg/dns"

	"swallowkeeper/reason"
)

// lookup queries everything that makes up a service. nx is the server that answered NXDOMAIN. An error means that
// nothing is known, as half an answer is none.
func (c *client) lookup(ctx context.Context, s *Service) (l listed, nx string, err error) {
	name := dns.CanonicalName(s.Query)
	if s.Record == recordSRV {
		return c.targets(ctx, s, name)
	}
	kinds := map[string][]uint16{recordA: {dns.TypeA}, recordAAAA: {dns.TypeAAAA}, recordBoth: {dns.TypeA, dns.TypeAAAA}}[s.Record]
	answers, errs := c.all(ctx, name, kinds)
	for i, err := range errs {
		switch {
		case err == nil:
		case len(kinds) > 1 && errs[1-i] == nil:
			return listed{}, "", wrapped(err, half.With(dns.TypeToString[kinds[i]], shown(name), reason.Of(err)))
		default:
			return listed{}, "", about(err, s)
		}
	}
	for i, a := range answers {
		if a.nx {
			if other := answers[len(answers)-1-i]; !other.nx {
				if len(other.addrs) == 0 {
					continue // the name may have records of other types
				}
				has, lacks := dns.TypeToString[kinds[1-i]], dns.TypeToString[kinds[i]]
				return listed{}, "", &failure{"contradiction", contradicts.With(shown(name), has, lacks)}
			}
			return listed{}, a.server, nil
		}
		for _, ip := range a.addrs {
			l.records = append(l.records, record{kind: dns.TypeToString[kinds[i]], addr: ip, port: s.Port, ttl: a.ttl})
		}
	}
	return l, "", nil
}

// all queries several types of a name concurrently.
func (c *client) all(ctx context.Context, name string, kinds []uint16) ([]answer, []error) {
	answers, errs := make([]answer, len(kinds)), make([]error, len(kinds))
	var asking sync.WaitGroup
	for i, kind := range kinds {
		asking.Go(func() { answers[i], errs[i] = c.ask(ctx, question{name, kind}) })
	}
	asking.Wait()
	return answers, errs
}

// targets queries SRV records, and the addresses of their targets unless the answer includes them.
func (c *client) targets(ctx context.Context, s *Service, name string) (l listed, nx string, err error) {
	a, err := c.ask(ctx, question{name, dns.TypeSRV})
	if err != nil {
		return listed{}, "", about(err, s)
	}
	if a.nx {
		return listed{}, a.server, nil
	}
	var hosts []string
	for _, t := range a.srv {
		if t.host != "." && !slices.Contains(hosts, t.host) { // in DNS, the target "." means that the service is not available
			hosts = append(hosts, t.host)
		}
	}
	found, errs := make([][]netip.Addr, len(hosts)), make([]error, len(hosts))
	var asking sync.WaitGroup
	for i, host := range hosts {
		if found[i] = a.beside[host]; len(found[i]) == 0 {
			asking.Go(func() { found[i], errs[i] = c.host(ctx, host) })
		}
	}
	asking.Wait()
	of := map[string][]netip.Addr{}
	for i, host := range hosts {
		if errs[i] != nil {
			return listed{}, "", wrapped(errs[i], noTarget.With(shown(host), shown(name), reason.Of(errs[i])))
		}
		of[host] = found[i]
	}
	for _, t := range a.srv {
		for _, ip := range of[t.host] {
			l.records = append(l.records, record{
				kind: recordSRV, addr: ip, port: int(t.port), ttl: a.ttl, target: t.host, priority: t.priority, weight: t.weight,
			})
		}
	}
	return l, "", nil
}

// host returns the addresses of a target, or an error if there are none.
func (c *client) host(ctx context.Context, host string) (addrs []netip.Addr, err error) {
	answers, errs := c.all(ctx, host, []uint16{dns.TypeA, dns.TypeAAAA})
	for i, a := range answers {
		if errs[i] != nil {
			return nil, errs[i]
		}
		addrs = append(addrs, a.addrs...)
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case answers[0].nx:
		return nil, &failure{"nxdomain", nxdomain.With(shown(host), answers[0].server)}
	}
	return nil, &failure{"empty", noAddress.With()}
}

// wrapped rewords a failure.
func wrapped(err error, why reason.Reason) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	return &failure{f.outcome, why}
}

// about adds the question to an error.
func about(err error, s *Service) error {
	return wrapped(err, aboutName.With(s.Record, shown(s.Query), reason.Of(err)))
}
