package consul

import (
	"path"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// Config is a [[registry]] table with type = "consul".
type Config struct {
	// Address of a Consul agent: host:port, http://…, https://… or unix:///…. The default is CONSUL_HTTP_ADDR, or
	// 127.0.0.1:8500.
	Address string `toml:"address"`
	// Datacenter, Namespace and Partition to read; empty for the agent's own.
	Datacenter string `toml:"datacenter"`
	Namespace  string `toml:"namespace"`
	Partition  string `toml:"partition"`
	// Token and TokenFile: the ACL token, or a file with it. CONSUL_HTTP_TOKEN and CONSUL_HTTP_TOKEN_FILE also work.
	Token     string `toml:"token" secret:"true"`
	TokenFile string `toml:"token_file" file:"true"`
	// TLS for an https address; CONSUL_CACERT and the like also work.
	CAFile             string `toml:"ca_file" file:"true"`
	CertFile           string `toml:"cert_file" file:"true"`
	KeyFile            string `toml:"key_file" file:"true"`
	TLSServerName      string `toml:"tls_server_name"`
	InsecureSkipVerify bool   `toml:"insecure_skip_verify"`
	// Wait is the maximum wait of a blocking query, 1s to 10m.
	Wait time.Duration `toml:"wait"`
	// Stale allows any server to answer, not only the leader.
	Stale bool `toml:"stale"`
	// Include and Exclude are names or globs of services; an empty Include matches all.
	Include []string `toml:"include"`
	Exclude []string `toml:"exclude"`
	// Tags are names or globs: only instances with a matching tag are used. Empty matches all.
	Tags []string `toml:"tags"`
	// Filter is a Consul filter expression for the instances of a service.
	Filter string `toml:"filter"`
	// Health is the worst state of a usable instance: "passing", or "warning" to also use warning ones, at
	// Weights.Warning.
	Health string `toml:"health"`
	// CanaryTag is the key of the tag that puts an instance into a separate upstream: with "gray", the tag gray=b puts
	// it into NAME_b; the value "default" means none. Empty disables canaries.
	CanaryTag string `toml:"canary_tag"`
	// HostNames accepts instances registered by host name. Names are resolved here, and their addresses written.
	// Otherwise such instances are left out.
	HostNames bool `toml:"host_names"`
	// ACLFiltered tells how to treat a list filtered by ACLs: "refuse" treats it as unreadable, "accept" as complete
	// (for a token that is meant to see only a part).
	ACLFiltered string `toml:"acl_filtered"`
	// Connections limits the open connections to an agent over plain HTTP. 0 asks the agent for its limit and keeps a
	// reserve, or assumes a limit of 200 if it does not tell.
	Connections int `toml:"connections"`

	// Name is the origin of this registry's servers in the conf file; "" for the Identity.
	Name string `toml:"-"`
	// Defaults are the options of upstreams and servers from the [upstream] tables.
	Defaults upstream.Defaults `toml:"-"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Wait:        3 * time.Minute,
		Exclude:     []string{"consul"},
		Health:      "passing",
		CanaryTag:   "gray",
		ACLFiltered: "refuse",
	}
}

// Validate returns a *setting.Error for the first invalid key.
func (c Config) Validate() error {
	switch {
	case c.Wait < time.Second || c.Wait > 10*time.Minute:
		return &setting.Error{Key: "wait", Value: c.Wait, Allowed: `a duration from "1s" to "10m"`}
	case c.Health != "passing" && c.Health != "warning":
		return &setting.Error{Key: "health", Value: c.Health, Allowed: `"passing" or "warning"`}
	case c.ACLFiltered != "refuse" && c.ACLFiltered != "accept":
		return &setting.Error{Key: "acl_filtered", Value: c.ACLFiltered, Allowed: `"refuse" or "accept"`}
	case c.Connections != 0 && (c.Connections < 4 || c.Connections > 100_000):
		return &setting.Error{Key: "connections", Value: c.Connections, Allowed: "0 (ask the agent) or a number from 4 to 100000"}
	}
	if c.Address != "" {
		if _, err := splitAddress(c.Address); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		key   string
		globs []string
	}{{"include", c.Include}, {"exclude", c.Exclude}, {"tags", c.Tags}} {
		for _, g := range list.globs {
			if _, err := path.Match(g, ""); err != nil || g == "" {
				return &setting.Error{Key: list.key, Value: g, Allowed: "names or globs such as web-*, where * is any characters, ? one and [a-c] a range"}
			}
		}
	}
	return nil
}

// Silence returns how long a query may wait for a change.
func (c Config) Silence() time.Duration { return c.Wait }
