package guard

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
)

// What the guard does with a service that has no usable instance, or is gone.
const (
	Keep   = "keep"
	Remove = "remove"
	Delete = "delete"
	Down   = "down"
)

// How the witness tries a server.
const (
	WitnessTCP  = "tcp"
	WitnessHTTP = "http"
	WitnessOff  = "off"
)

// From how many servers on a share counts: of three or fewer, taking one away is already a large share; and
// a fleet of a few servers may well become one of many.
const (
	smallest       = 4
	smallestGrowth = 20
)

// Config is the [guard] table: the safety limits of every change.
type Config struct {
	// MinServices is how many upstreams with a usable server there must be. With
	// fewer everything is held; 0 allows that nothing is left.
	MinServices int `toml:"min_services"`
	// MaxRemoval is the share of all servers, 0 to 1, that one step may take away at
	// most. It counts from 4 servers on. Beyond it additions and updates go through and
	// removals are held.
	MaxRemoval float64 `toml:"max_removal"`
	// MaxRemovalWindow is the share of the most servers within Window, 0 to 1, that all
	// steps together may take away and not give back. It counts from 4 servers on.
	MaxRemovalWindow float64 `toml:"max_removal_window"`
	// Window is the time that is judged as a whole, beside each step.
	Window time.Duration `toml:"window"`
	// MaxServiceRemoval is the share of the servers of one service that a step, and a window,
	// may take away while the service is there. It counts from 4 servers on.
	MaxServiceRemoval float64 `toml:"max_service_removal"`
	// MaxGrowth is how many times the servers of before a step or a window may reach. It
	// counts from 20 servers on. Beyond it what is new is held.
	MaxGrowth float64 `toml:"max_growth"`
	// MaxUpstreams is how many upstreams there may be; 0 is any number. What is new beyond
	// it is held.
	MaxUpstreams int `toml:"max_upstreams"`
	// MaxServers is how many servers there may be over all upstreams; 0 is any number.
	MaxServers int `toml:"max_servers"`
	// OnUnhealthy says what becomes of a service most of whose instances turn out registered
	// and not usable within Window: "keep" all that were usable, or "remove" them.
	OnUnhealthy string `toml:"on_unhealthy"`
	// OnRemoved says what becomes of a service that is deregistered: "delete" it, or keep
	// its upstream with one server marked "down", so that nginx answers 502 at once.
	OnRemoved string `toml:"on_removed"`
	// AllowAddresses are ranges (10.0.0.0/8) and addresses that servers may have; none means all. One
	// within 169.254.0.0/16 or fe80::/10 lets these in, which are refused otherwise.
	AllowAddresses []string `toml:"allow_addresses"`
	// DenyAddresses are ranges and addresses that no server may have, also where AllowAddresses has them.
	DenyAddresses []string `toml:"deny_addresses"`
	// Damping keeps a server that left traffic four times within Window out for longer
	// each time, unless it is the last one of its service.
	Damping bool `toml:"damping"`
	// Recovery is how long nothing must have come back before what is still missing after a
	// loss counts as removed. It is no shorter than a registry's own wait.
	Recovery time.Duration `toml:"recovery"`
	// HoldFor lets a hold through after this time; 0 never does.
	HoldFor time.Duration `toml:"hold_for"`
	// WitnessBy says how the servers that a rule would hold are tried from this machine: "tcp" connects
	// to them, "http" also asks for WitnessPath, "off" tries nothing.
	WitnessBy string `toml:"witness"`
	// WitnessPath is what "http" asks for. Any answer below 500 says that the server is alive.
	WitnessPath string `toml:"witness_path"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		MinServices: 1, MaxRemoval: 0.5, MaxRemovalWindow: 0.5, Window: 10 * time.Minute, MaxServiceRemoval: 0.75,
		MaxGrowth: 3, MaxUpstreams: 10_000, MaxServers: 100_000,
		OnUnhealthy: Keep, OnRemoved: Delete, Damping: true, Recovery: 3 * time.Minute,
		WitnessBy: WitnessTCP, WitnessPath: "/",
	}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (c Config) Validate() error {
	for _, share := range []struct {
		key   string
		value float64
	}{
		{"max_removal", c.MaxRemoval}, {"max_removal_window", c.MaxRemovalWindow}, {"max_service_removal", c.MaxServiceRemoval},
	} {
		if !(share.value >= 0 && share.value <= 1) { // written so that NaN is refused too
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

// validPath reports whether a request line can have it as it stands.
func validPath(path string) bool {
	const most = 256
	u, err := url.ParseRequestURI(path)
	return err == nil && len(path) <= most && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") &&
		!strings.Contains(path, "#") && u.RequestURI() == path
}

// ParseRanges reads ranges such as 10.0.0.0/8 and single addresses, of the key with this name.
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
