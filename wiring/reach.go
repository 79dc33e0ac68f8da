package wiring

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/guard"
	"swallowkeeper/syncer"
)

// endpoint is an address of our own: what it is, and where.
type endpoint struct{ of, host, port string }

// How long what is known of this machine's addresses and of host names is good, and how long a look-up
// may hold up a decision.
const (
	localsGood = 5 * time.Second
	namesGood  = time.Minute
	nameLimit  = time.Second
)

// reach keeps the syncer.Reach of one configuration up to date: this machine's addresses change, and so do
// those of the host names by which a gateway or a registry is configured.
type reach struct {
	endpoints []endpoint
	log       logrus.FieldLogger
	locals    func() ([]net.Addr, error)
	lookup    func(ctx context.Context, host string) ([]netip.Addr, error)

	mu           sync.Mutex
	is           syncer.Reach
	names        map[string][]netip.Addr
	looked, told time.Time
}

// newReach is for a guard's configuration that is valid.
func newReach(c guard.Config, endpoints []endpoint, log logrus.FieldLogger) *reach {
	r := &reach{
		endpoints: endpoints, log: log, names: map[string][]netip.Addr{}, locals: net.InterfaceAddrs,
		lookup: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
	r.is.Allow, _ = guard.ParseRanges("allow_addresses", c.AllowAddresses)
	r.is.Deny, _ = guard.ParseRanges("deny_addresses", c.DenyAddresses)
	return r
}

// now is what holds at this moment. What can't be found out stays as it was known.
func (r *reach) now() syncer.Reach {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.looked.IsZero() && time.Since(r.looked) < localsGood {
		return r.is
	}
	if addrs, err := r.locals(); err == nil {
		r.is.Local = nil
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(n.IP); ok {
					r.is.Local = append(r.is.Local, ip.Unmap())
				}
			}
		}
	}
	again := r.told.IsZero() || time.Since(r.told) >= namesGood
	r.is.Own = nil
	for _, e := range r.endpoints {
		port, err := strconv.ParseUint(e.port, 10, 16)
		if err != nil || port == 0 { // a name of a service, or a port that nobody knows yet
			continue
		}
		for _, ip := range r.addresses(e, again) {
			r.is.Own = append(r.is.Own, syncer.Own{Of: e.of, Addr: netip.AddrPortFrom(ip, uint16(port))})
		}
	}
	r.looked = time.Now()
	if again {
		r.told = r.looked
	}
	return r.is
}

// addresses are those of an endpoint's host.
func (r *reach) addresses(e endpoint, again bool) []netip.Addr {
	host := strings.TrimSuffix(strings.ToLower(e.host), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.IPv6Unspecified()} // every local address
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap().WithZone("")}
	}
	if again {
		ctx, cancel := context.WithTimeout(context.Background(), nameLimit)
		defer cancel()
		list, err := r.lookup(ctx, host)
		if err != nil {
			r.log.WithError(err).WithField("host", host).
				Warn("the address of " + e.of + " is not known: a service that registers it is not refused")
			return r.names[host]
		}
		for i := range list {
			list[i] = list[i].Unmap().WithZone("")
		}
		r.names[host] = list
	}
	return r.names[host]
}
