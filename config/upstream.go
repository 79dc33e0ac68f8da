package config

import (
	"fmt"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// Upstream is the [upstream] table or an [upstream.NAME] table: the nginx options of upstreams and their servers.
// Options from a registry take precedence.
type Upstream struct {
	// MaxFails is how many failures within FailTimeout take a server out of use; 0 disables that.
	MaxFails int `toml:"max_fails"`
	// FailTimeout is the period for MaxFails, and how long the server stays out of use.
	FailTimeout time.Duration `toml:"fail_timeout"`
	// Keepalive is how many idle connections each worker keeps. 0 means nginx's default, which is 32 in newer versions.
	Keepalive int `toml:"keepalive"`
	// Weight is a server's share of the traffic.
	Weight int `toml:"weight"`
	// MaxConns limits a server's connections per worker; 0 means no limit.
	MaxConns int `toml:"max_conns"`
	// Method is the balancing directive; empty means weighted round robin.
	Method string `toml:"method"`
}

func defaultUpstream() Upstream {
	t := upstream.DefaultTemplate()
	return Upstream{
		MaxFails: t.MaxFails, FailTimeout: t.FailTimeout, Keepalive: t.Options.Keepalive,
		Weight: t.Weight, MaxConns: t.MaxConns, Method: t.Options.Method,
	}
}

func (u Upstream) template() upstream.Template {
	return upstream.Template{
		Options:  upstream.Options{Method: u.Method, Keepalive: u.Keepalive},
		Weight:   u.Weight,
		MaxConns: u.MaxConns, MaxFails: u.MaxFails, FailTimeout: u.FailTimeout,
	}
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (u Upstream) Validate() error {
	for _, n := range []struct {
		key              string
		value, low, high int
	}{
		{"max_fails", u.MaxFails, 0, upstream.MaxCount},
		{"keepalive", u.Keepalive, 0, upstream.MaxCount},
		{"weight", u.Weight, 1, upstream.MaxWeight},
		{"max_conns", u.MaxConns, 0, upstream.MaxCount},
	} {
		if n.value < n.low || n.value > n.high {
			return &setting.Error{
				Key: n.key, Value: n.value,
				Allowed: fmt.Sprintf("a number from %d to %d", n.low, n.high),
			}
		}
	}
	switch {
	case upstream.ValidFailTimeout(u.FailTimeout) != nil:
		return &setting.Error{
			Key: "fail_timeout", Value: u.FailTimeout,
			Allowed: `a duration in whole seconds from "0s" to "24h"`,
		}
	case upstream.ValidMethod(u.Method) != nil:
		return &setting.Error{
			Key: "method", Value: u.Method,
			Allowed: `"" (weighted round robin), "least_conn", "ip_hash" or "random"`,
		}
	}
	return nil
}
