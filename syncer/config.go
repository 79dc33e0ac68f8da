package syncer

import (
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

// GuardConfig is the [guard] table: the safety limits of every change.
type GuardConfig struct {
	// MinServices is how many upstreams with a usable server there must be. With
	// fewer everything is held; 0 allows that nothing is left.
	MinServices int `toml:"min_services"`
	// MaxRemoval is the share of all servers, 0 to 1, that one step may take away at
	// most. It counts from 4 servers on. Beyond it additions and updates go through and
	// removals are held.
	MaxRemoval float64 `toml:"max_removal"`
	// OnUnhealthy says what becomes of a service whose instances are all registered and
	// none of them usable: "keep" its last servers, or "remove" the upstream.
	OnUnhealthy string `toml:"on_unhealthy"`
	// OnRemoved says what becomes of a service that is deregistered: "delete" it, or keep
	// its upstream with one server marked "down", so that nginx answers 502 at once.
	OnRemoved string `toml:"on_removed"`
	// AllowAddresses are ranges (10.0.0.0/8) and addresses that servers may have; none means all. One
	// within 169.254.0.0/16 or fe80::/10 lets these in, which are refused otherwise.
	AllowAddresses []string `toml:"allow_addresses"`
	// DenyAddresses are ranges and addresses that no server may have, also where AllowAddresses has them.
	DenyAddresses []string `toml:"deny_addresses"`
	// HoldFor lets a hold through after this time; 0 never does.
	HoldFor time.Duration `toml:"hold_for"`
}

// DefaultGuardConfig is what holds where the file says nothing.
func DefaultGuardConfig() GuardConfig {
	return GuardConfig{MinServices: 1, MaxRemoval: 0.5, OnUnhealthy: Keep, OnRemoved: Delete}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
func (c GuardConfig) Validate() error {
	switch {
	case c.MinServices < 0:
		return &setting.Error{Key: "min_services", Value: c.MinServices, Allowed: "a number from 0"}
	case !(c.MaxRemoval >= 0 && c.MaxRemoval <= 1): // written so that NaN is refused too
		return &setting.Error{Key: "max_removal", Value: c.MaxRemoval, Allowed: "a share from 0 to 1"}
	case c.OnUnhealthy != Keep && c.OnUnhealthy != Remove:
		return &setting.Error{Key: "on_unhealthy", Value: c.OnUnhealthy, Allowed: `"keep" or "remove"`}
	case c.OnRemoved != Delete && c.OnRemoved != Down:
		return &setting.Error{Key: "on_removed", Value: c.OnRemoved, Allowed: `"delete" or "down"`}
	case c.HoldFor < 0:
		return &setting.Error{Key: "hold_for", Value: c.HoldFor, Allowed: `a duration from "0s" (never) up`}
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
