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
	"swallowkeeper/reason"
	"swallowkeeper/syncer"
)

// endpoint is an address of our own, with its purpose.
type endpoint struct {
	of         reason.Reason
	host, port string
}

// How long this machine's addresses and those of host names are cached, and how long a look-up may delay a decision.
const (
	localsGood = 5 * time.Second
	namesGood  = time.Minute
	nameLimit  = time.Second
)

// reach keeps the syncer.Reach of one configuration up to date: this machine's addresses may change, and so may those
// of the configured hosts.
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

// newReach expects a valid guard configuration.
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

// now returns the current state. What can't be looked up keeps its last known value.
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
		if err != nil || port == 0 { // a service name, or a port that is not known yet
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

// addresses returns the addresses of an endpoint's host.
func (r *reach) addresses(e endpoint, again bool) []netip.Addr {
	host := strings.TrimSuffix(strings.ToLower(e.host), ".")
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.IPv6Unspecified()} // any local address
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
				Warn("the address of " + e.of.String() + " is not known: a service that registers it is not refused")
			return r.names[host]
		}
		for i := range list {
			list[i] = list[i].Unmap().WithZone("")
		}
		r.names[host] = list
	}
	return r.names[host]
}
