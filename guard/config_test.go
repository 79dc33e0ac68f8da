package guard

import (
	"errors"
	"math"
	"testing"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/reason"
)

// TestValidate tries each limit at its edges and just beyond them.
func TestValidate(t *testing.T) {
	share := func(set func(*Config, float64)) (good, bad []func(*Config)) {
		for _, x := range []float64{0, 0.5, 1} {
			good = append(good, func(c *Config) { set(c, x) })
		}
		for _, x := range []float64{-0.001, 1.001, math.NaN(), math.Inf(1), math.Inf(-1)} {
			bad = append(bad, func(c *Config) { set(c, x) })
		}
		return good, bad
	}
	duration := func(set func(*Config, time.Duration)) (good, bad []func(*Config)) {
		for _, d := range []time.Duration{time.Second, 24 * time.Hour} {
			good = append(good, func(c *Config) { set(c, d) })
		}
		for _, d := range []time.Duration{0, -time.Minute, time.Second - 1, 24*time.Hour + 1, math.MaxInt64} {
			bad = append(bad, func(c *Config) { set(c, d) })
		}
		return good, bad
	}
	number := func(set func(*Config, int)) (good, bad []func(*Config)) {
		return []func(*Config){func(c *Config) { set(c, 0) }, func(c *Config) { set(c, math.MaxInt) }}, []func(*Config){func(c *Config) { set(c, -1) }}
	}
	word := func(set func(*Config, string), words ...string) (good, bad []func(*Config)) {
		for _, w := range words {
			good = append(good, func(c *Config) { set(c, w) })
		}
		return good, []func(*Config){func(c *Config) { set(c, "") }, func(c *Config) { set(c, "Keep") }}
	}
	check := func(key string, good, bad []func(*Config)) {
		t.Helper()
		for i, change := range good {
			c := DefaultConfig()
			if change(&c); c.Validate() != nil {
				t.Errorf("%s, good value %d: %v", key, i, c.Validate())
			}
		}
		for i, change := range bad {
			c := DefaultConfig()
			change(&c)
			var wrong *setting.Error
			if err := c.Validate(); !errors.As(err, &wrong) || wrong.Key != key {
				t.Errorf("%s, bad value %d: %v", key, i, err)
			}
		}
	}
	of := func(good, bad []func(*Config)) [2][]func(*Config) { return [2][]func(*Config){good, bad} }
	for key, values := range map[string][2][]func(*Config){
		"max_removal":         of(share(func(c *Config, x float64) { c.MaxRemoval = x })),
		"max_removal_window":  of(share(func(c *Config, x float64) { c.MaxRemovalWindow = x })),
		"max_service_removal": of(share(func(c *Config, x float64) { c.MaxServiceRemoval = x })),
		"window":              of(duration(func(c *Config, d time.Duration) { c.Window = d })),
		"recovery":            of(duration(func(c *Config, d time.Duration) { c.Recovery = d })),
		"min_services":        of(number(func(c *Config, n int) { c.MinServices = n })),
		"max_upstreams":       of(number(func(c *Config, n int) { c.MaxUpstreams = n })),
		"max_servers":         of(number(func(c *Config, n int) { c.MaxServers = n })),
		"on_unhealthy":        of(word(func(c *Config, w string) { c.OnUnhealthy = w }, Keep, Remove)),
		"on_removed":          of(word(func(c *Config, w string) { c.OnRemoved = w }, Delete, Down)),
		"max_growth": {
			{func(c *Config) { c.MaxGrowth = 1 }, func(c *Config) { c.MaxGrowth = 1000 }},
			{
				func(c *Config) { c.MaxGrowth = 0.999 }, func(c *Config) { c.MaxGrowth = 1000.1 }, func(c *Config) { c.MaxGrowth = math.NaN() },
				func(c *Config) { c.MaxGrowth = math.Inf(1) },
			},
		},
		"hold_for":        {{func(c *Config) { c.HoldFor = 0 }, func(c *Config) { c.HoldFor = time.Nanosecond }}, {func(c *Config) { c.HoldFor = -1 }}},
		"allow_addresses": {{func(c *Config) { c.AllowAddresses = []string{"10.0.0.0/8", "fd00::1"} }}, {func(c *Config) { c.AllowAddresses = []string{"10.0.0.0/8", "x"} }}},
		"deny_addresses": {
			{func(c *Config) { c.DenyAddresses = []string{"10.0.0.1"} }},
			{
				func(c *Config) { c.DenyAddresses = []string{"fe80::1%eth0"} }, func(c *Config) { c.DenyAddresses = []string{"::ffff:10.0.0.1"} },
				func(c *Config) { c.DenyAddresses = []string{"10.0.0.0/33"} },
			},
		},
	} {
		check(key, values[0], values[1])
	}
}

// Of many holds the first three are told of.
func TestReasons(t *testing.T) {
	hold := func(n int) (list []Hold) {
		for i := range n {
			list = append(list, Hold{Reason: reason.Text(string(rune('a' + i)))})
		}
		return list
	}
	for n, want := range []string{"", "a", "a; b", "a; b; c", "a; b; c; and 1 holds more", "a; b; c; and 2 holds more"} {
		if got := Reasons(hold(n)).String(); got != want {
			t.Errorf("%d holds: %q, want %q", n, got, want)
		}
	}
	h := Hold{Rule: RuleMaxServiceRemoval, Upstream: "a"}
	if !h.Continued(h) || h.Continued(Hold{Rule: RuleRecovery, Upstream: "a"}) || h.Continued(Hold{Rule: RuleMaxServiceRemoval, Upstream: "b"}) {
		t.Error("a hold goes on with one of its rule, on its upstream, and with no other")
	}
}

// Durations are told without the units that are zero.
func TestInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Second: "30s", time.Minute: "1m", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour: "1h", 90 * time.Minute: "1h30m",
		time.Hour + time.Second: "1h0m1s", 100 * time.Second: "1m40s", 20 * time.Second: "20s", 10 * time.Hour: "10h",
	} {
		if got := setting.FormatDuration(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
