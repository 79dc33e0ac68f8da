package consul

import (
	"path"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/upstream"
)

// Config is one [[registry]] table with type = "consul".
type Config struct {
	// Address of a Consul agent: host:port, http://…, https://… or unix:///…. An
	// empty one is CONSUL_HTTP_ADDR, or 127.0.0.1:8500.
	Address string `toml:"address"`
	// Datacenter, Namespace and Partition to read; empty is the agent's own.
	Datacenter string `toml:"datacenter"`
	Namespace  string `toml:"namespace"`
	Partition  string `toml:"partition"`
	// Token and TokenFile: the ACL token, as it is or in a file. CONSUL_HTTP_TOKEN and
	// CONSUL_HTTP_TOKEN_FILE are honoured.
	Token     string `toml:"token" secret:"true"`
	TokenFile string `toml:"token_file" file:"true"`
	// TLS of an https address; CONSUL_CACERT and the like are honoured.
	CAFile             string `toml:"ca_file" file:"true"`
	CertFile           string `toml:"cert_file" file:"true"`
	KeyFile            string `toml:"key_file" file:"true"`
	TLSServerName      string `toml:"tls_server_name"`
	InsecureSkipVerify bool   `toml:"insecure_skip_verify"`
	// Wait is the longest that one blocking query waits for news, 1s to 10m.
	Wait time.Duration `toml:"wait"`
	// Stale lets any server answer, not only the leader.
	Stale bool `toml:"stale"`
	// Include and Exclude are names or globs of services; an empty Include is all.
	Include []string `toml:"include"`
	Exclude []string `toml:"exclude"`
	// Tags are names or globs: only instances with a tag that matches one are used. Empty is all.
	Tags []string `toml:"tags"`
	// Filter is a Consul filter expression over the instances of a service.
	Filter string `toml:"filter"`
	// Health is the worst state of an instance that is used: "passing", or "warning"
	// to use warning ones too, at Weights.Warning.
	Health string `toml:"health"`
	// CanaryTag is the key of the tag that puts an instance into an upstream of its own:
	// "gray" makes tag gray=b put it into NAME_b; the value "default" is none. Empty switches it off.
	CanaryTag string `toml:"canary_tag"`
	// HostNames lets instances be registered by host name. The names are looked up
	// here, and their addresses written. Off, such instances are left out.
	HostNames bool `toml:"host_names"`
	// ACLFiltered says what a list cut by ACLs is: "refuse" takes it for unreadable,
	// "accept" for all there is (for a token that is meant to see only a part).
	ACLFiltered string `toml:"acl_filtered"`
	// Connections is the most that are held open to an agent over plain HTTP; 0 asks the
	// agent for its limit, keeps a reserve, and takes 200 for the limit where it will not say.
	Connections int `toml:"connections"`

	// Name stands in the conf file beside every server that comes from this registry; "" is the Identity.
	Name string `toml:"-"`
	// Defaults are the options of upstreams and servers, from the [upstream] tables.
	Defaults upstream.Defaults `toml:"-"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		Wait:        3 * time.Minute,
		Exclude:     []string{"consul"},
		Health:      "passing",
		CanaryTag:   "gray",
		ACLFiltered: "refuse",
	}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
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

// Silence is how long a query may wait for news.
func (c Config) Silence() time.Duration { return c.Wait }
