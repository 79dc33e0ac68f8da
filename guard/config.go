package guard

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
)

// Values of OnUnhealthy and OnRemoved: what to do with a service that has no usable instance, or was deregistered.
const (
	Keep   = "keep"
	Remove = "remove"
	Delete = "delete"
	Down   = "down"
)

// Values of WitnessBy: how the witness tries a server.
const (
	WitnessTCP  = "tcp"
	WitnessHTTP = "http"
	WitnessOff  = "off"
)

// Minimum numbers of servers for the limits on shares and on growth. One of three servers is already a large share,
// and a fleet of a few servers may well grow many times.
const (
	smallest       = 4
	smallestGrowth = 20
)

// Config is the [guard] table: the safety limits of every change.
type Config struct {
	// MinServices is the minimum number of upstreams with a usable server. With fewer, everything is held; 0 permits
	// an empty set.
	MinServices int `toml:"min_services"`
	// MaxRemoval is the largest share of all servers, 0 to 1, that one step may remove. It applies from 4 servers on.
	// Beyond it, removals are held; additions and updates go through.
	MaxRemoval float64 `toml:"max_removal"`
	// MaxRemovalWindow is the largest share, 0 to 1, that may be lost within Window, of the most servers within that
	// time. It applies from 4 servers on.
	MaxRemovalWindow float64 `toml:"max_removal_window"`
	// Window is the time over which steps are judged together.
	Window time.Duration `toml:"window"`
	// MaxServiceRemoval is the largest share of a service's servers that a step, or all steps within Window, may
	// remove while the service remains. It applies from 4 servers on.
	MaxServiceRemoval float64 `toml:"max_service_removal"`
	// MaxGrowth is the largest factor by which the number of servers may grow in a step or within Window. It applies
	// from 20 servers on. Beyond it, new servers are held.
	MaxGrowth float64 `toml:"max_growth"`
	// MaxUpstreams is the maximum number of upstreams; 0 means no limit. New ones beyond it are held.
	MaxUpstreams int `toml:"max_upstreams"`
	// MaxServers is the maximum number of servers over all upstreams; 0 means no limit.
	MaxServers int `toml:"max_servers"`
	// OnUnhealthy is what to do if most instances of a service become unhealthy within Window while they are
	// registered: "keep" all that were usable, or "remove" them.
	OnUnhealthy string `toml:"on_unhealthy"`
	// OnRemoved is what to do with a deregistered service: "delete" it, or keep its upstream with one server marked
	// "down", so that nginx answers 502 at once.
	OnRemoved string `toml:"on_removed"`
	// AllowAddresses are the ranges (10.0.0.0/8) and addresses that servers may have; an empty list allows all. A
	// range within 169.254.0.0/16 or fe80::/10 allows these, which are refused otherwise.
	AllowAddresses []string `toml:"allow_addresses"`
	// DenyAddresses are the ranges and addresses that no server may have. They override AllowAddresses.
	DenyAddresses []string `toml:"deny_addresses"`
	// Damping keeps a server out that has left traffic four times within Window, for longer each time, unless it is
	// the last one of its service.
	Damping bool `toml:"damping"`
	// Recovery is how long nothing must have come back after a loss before what is still missing counts as removed.
	// It is at least as long as a registry's own wait.
	Recovery time.Duration `toml:"recovery"`
	// HoldFor releases a hold after this time; 0 never does.
	HoldFor time.Duration `toml:"hold_for"`
	// WitnessBy is how this machine tries the servers that a rule would hold: "tcp" connects to them, "http" also
	// requests WitnessPath, "off" disables the witness.
	WitnessBy string `toml:"witness"`
	// WitnessPath is the path that "http" requests. Any status below 500 means that the server is alive.
	WitnessPath string `toml:"witness_path"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		MinServices: 1, MaxRemoval: 0.5, MaxRemovalWindow: 0.5, Window: 10 * time.Minute, MaxServiceRemoval: 0.75,
		MaxGrowth: 3, MaxUpstreams: 10_000, MaxServers: 100_000,
		OnUnhealthy: Keep, OnRemoved: Delete, Damping: true, Recovery: 3 * time.Minute,
		WitnessBy: WitnessTCP, WitnessPath: "/",
	}
}

// Validate returns a *setting.Error for the first invalid value.
func (c Config) Validate() error {
	for _, share := range []struct {
		key   string
		value float64
	}{
		{"max_removal", c.MaxRemoval}, {"max_removal_window", c.MaxRemovalWindow}, {"max_service_removal", c.MaxServiceRemoval},
	} {
		if !(share.value >= 0 && share.value <= 1) { // negated to refuse NaN as well
			return &setting.Error{Key: share.key, Value: share.value, Allowed: "a share from 0 to 1"}
		}
	}
	switch {
	case c.MinServices < 0:
		return &setting.Error{Key: "min_services", Value: c.MinServices, Allowed: "a number from 0"}
	case c.Window < time.Second || c.Window > 24*time.Hour:
		return &setting.Error{Key: "window", Value: c.Window, Allowed: `a duration from "1s" to "24h"`}
	case !(c.MaxGrowth >= 1 && c.MaxGrowth <= 1000):
		return &setting.Error{Key: "max_growth", Value: c.MaxGrowth, Allowed: "a number from 1 to 1000"}
	case c.MaxUpstreams < 0:
		return &setting.Error{Key: "max_upstreams", Value: c.MaxUpstreams, Allowed: "a number from 0 (any)"}
	case c.MaxServers < 0:
		return &setting.Error{Key: "max_servers", Value: c.MaxServers, Allowed: "a number from 0 (any)"}
	case c.OnUnhealthy != Keep && c.OnUnhealthy != Remove:
		return &setting.Error{Key: "on_unhealthy", Value: c.OnUnhealthy, Allowed: `"keep" or "remove"`}
	case c.OnRemoved != Delete && c.OnRemoved != Down:
		return &setting.Error{Key: "on_removed", Value: c.OnRemoved, Allowed: `"delete" or "down"`}
	case c.Recovery < time.Second || c.Recovery > 24*time.Hour:
		return &setting.Error{Key: "recovery", Value: c.Recovery, Allowed: `a duration from "1s" to "24h"`}
	case c.HoldFor < 0:
		return &setting.Error{Key: "hold_for", Value: c.HoldFor, Allowed: `a duration from "0s" (never) up`}
	case c.WitnessBy != WitnessTCP && c.WitnessBy != WitnessHTTP && c.WitnessBy != WitnessOff:
		return &setting.Error{Key: "witness", Value: c.WitnessBy, Allowed: `"tcp", "http" or "off"`}
	case !validPath(c.WitnessPath):
		return &setting.Error{
			Key: "witness_path", Value: c.WitnessPath,
			Allowed: `a path such as "/healthz", perhaps with a query, of up to 256 characters that a URL may have`,
		}
	}
	for _, list := range []struct {
		key    string
		ranges []string
	}{{"allow_addresses", c.AllowAddresses}, {"deny_addresses", c.DenyAddresses}} {
		if _, err := ParseRanges(list.key, list.ranges); err != nil {
			return err
		}
	}
	return nil
}

// validPath reports whether the path can be used in a request line unchanged.
func validPath(path string) bool {
	const most = 256
	u, err := url.ParseRequestURI(path)
	return err == nil && len(path) <= most && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") &&
		!strings.Contains(path, "#") && u.RequestURI() == path
}

// ParseRanges parses ranges such as 10.0.0.0/8 and single addresses. key is used in errors.
func ParseRanges(key string, list []string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if a, single := netip.ParseAddr(s); single == nil && a.Zone() == "" {
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, &setting.Error{Key: key, Value: s, Allowed: `ranges such as "10.0.0.0/8" or "fd00::/8", and addresses`}
		}
		ranges = append(ranges, p.Masked())
	}
	return ranges, nil
}
