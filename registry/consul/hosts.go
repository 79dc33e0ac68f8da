package consul

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"
)

const (
	lookupLimit = 5 * time.Second
	// lookupsAtOnce keeps a machine full of services from flooding its name server.
	lookupsAtOnce = 8
)

// resolver finds the addresses of a host name.
type resolver func(ctx context.Context, host string) ([]netip.Addr, error)

func systemResolver() resolver {
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
}

// hosts keeps what is known of each host name in use: its last good addresses, or why
// there never were any.
type hosts struct {
	resolve resolver

	mu    sync.Mutex
	known map[string]addresses
}

type addresses struct {
	list []netip.Addr
	err  error
}

// lookup answers for the host names that instances have.
func (h *hosts) lookup(ctx context.Context, entries []*api.ServiceEntry) lookup {
	found := h.of(ctx, hostNames(entries))
	return func(host string) ([]netip.Addr, error) { return found[host].list, found[host].err }
}

// of looks up those of the names of which nothing is known, and tells what is known of all.
func (h *hosts) of(ctx context.Context, names []string) map[string]addresses {
	h.mu.Lock()
	var unknown []string
	for _, host := range names {
		if _, ok := h.known[host]; !ok {
			unknown = append(unknown, host)
		}
	}
	h.mu.Unlock()
	h.ask(ctx, unknown)
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]addresses, len(names))
	for _, host := range names {
		all[host] = h.known[host]
	}
	return all
}

// refresh looks all names up again, and forgets what is known of any other.
func (h *hosts) refresh(ctx context.Context, names []string) {
	h.mu.Lock()
	for host := range h.known {
		if !slices.Contains(names, host) {
			delete(h.known, host)
		}
	}
	h.mu.Unlock()
	h.ask(ctx, names)
}

// ask looks names up, several at a time. Where that fails the last good answer stays: a
// name server that is down empties no upstream.
func (h *hosts) ask(ctx context.Context, names []string) {
	var group errgroup.Group
	group.SetLimit(lookupsAtOnce)
	for _, host := range names {
		group.Go(func() error {
			limited, cancel := context.WithTimeout(ctx, lookupLimit)
			defer cancel()
			list, err := h.resolve(limited, host)
			if err == nil && len(list) == 0 {
				err = nothingFound.Err()
			}
			list = slices.Clone(list)
			slices.SortFunc(list, netip.Addr.Compare)
			list = slices.Compact(list)
			h.mu.Lock()
			defer h.mu.Unlock()
			if ctx.Err() == nil && (err == nil || len(h.known[host].list) == 0) {
				h.known[host] = addresses{list: list, err: err}
			}
			return nil
		})
	}
	_ = group.Wait()
}
