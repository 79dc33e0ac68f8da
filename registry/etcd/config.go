package etcd

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
	"swallowkeeper/route"
)

// Config is a [[registry]] table with type = "etcd".
type Config struct {
	// Address lists the client URLs of the members of a cluster: http://…, https://… or host:port.
	Address []string `toml:"address"`
	// Prefix is the prefix of the keys; empty for the layout's default.
	Prefix string `toml:"prefix"`
	// Layout is the format of keys and values.
	Layout string `toml:"layout"`
	// DefaultRoute is the route of a service that registers none; {name} stands for the service's name. Empty means
	// none.
	DefaultRoute string `toml:"default_route"`
	// Username and PasswordFile are for an etcd with authentication.
	Username     string `toml:"username"`
	PasswordFile string `toml:"password_file" file:"true"`
	// CA, Cert and Key are PEM files for https addresses: trusted authorities and the client certificate.
	CA   string `toml:"ca" file:"true"`
	Cert string `toml:"cert" file:"true"`
	Key  string `toml:"key" file:"true"`
	// Include and Exclude are names or globs of services; an empty Include matches all.
	Include []string `toml:"include"`
	Exclude []string `toml:"exclude"`
	// Resync is how often everything is read again, besides the watch.
	Resync time.Duration `toml:"resync"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Address: []string{"http://127.0.0.1:2379"}, Layout: "swallowkeeper", Resync: time.Minute}
}

// Kind returns the type "etcd".
func Kind() registry.Kind {
	return registry.Kind{
		Name: "etcd",
		Config: func() registry.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: newMetrics,
		Example: `[[registry]]
type    = "etcd"
address = ["http://127.0.0.1:2379"]   # the client URLs of one cluster
prefix  = "/swallowkeeper"
`,
	}
}

const (
	allowedAddress = `one or more URLs such as "http://10.0.0.5:2379", all with http or all with https`
	allowedPrefix  = `up to 200 visible characters such as "/services", and no // in it; the layouts endpoints, registrator and skydns2 need one`
	allowedRoute   = `"" or a route such as "/{name}/*"`
	allowedGlobs   = "names or globs such as web-*, where * is any characters, ? one and [a-c] a range"
)

// Validate returns a *setting.Error for the first invalid key.
func (c *Config) Validate() error {
	if _, err := c.addresses(); err != nil {
		return err
	}
	if _, known := layouts[c.Layout]; !known {
		return &setting.Error{Key: "layout", Value: c.Layout, Allowed: layoutNames()}
	}
	if !c.validPrefix() {
		return &setting.Error{Key: "prefix", Value: c.Prefix, Allowed: allowedPrefix}
	}
	if c.DefaultRoute != "" {
		if _, err := route.Registered(named(c.DefaultRoute, "name"), "name", nil); err != nil {
			return &setting.Error{Key: "default_route", Value: c.DefaultRoute, Allowed: allowedRoute}
		}
	}
	if c.Resync < time.Second || c.Resync > time.Hour {
		return &setting.Error{Key: "resync", Value: c.Resync, Allowed: `a duration from "1s" to "1h"`}
	}
	for _, list := range []struct {
		key   string
		globs []string
	}{{"include", c.Include}, {"exclude", c.Exclude}} {
		for _, g := range list.globs {
			if _, err := path.Match(g, ""); err != nil || g == "" {
				return &setting.Error{Key: list.key, Value: g, Allowed: allowedGlobs}
			}
		}
	}
	return nil
}

// together returns which key needs another one.
func (c *Config) together() error {
	secure, err := c.addresses()
	switch {
	case err != nil:
		return err
	case c.Username == "" && c.PasswordFile != "":
		return &setting.Error{Key: "username", Value: c.Username, Allowed: "a name where password_file is set"}
	case c.Username != "" && c.PasswordFile == "":
		return &setting.Error{Key: "password_file", Value: c.PasswordFile, Allowed: "a file where username is set"}
	case c.Cert != "" && c.Key == "":
		return &setting.Error{Key: "key", Value: c.Key, Allowed: "the file of the key of cert"}
	case c.Key != "" && c.Cert == "":
		return &setting.Error{Key: "cert", Value: c.Cert, Allowed: "the file of the certificate of key"}
	case secure:
		return nil
	case c.CA != "":
		return &setting.Error{Key: "ca", Value: c.CA, Allowed: "a file beside https addresses"}
	case c.Cert != "":
		return &setting.Error{Key: "cert", Value: c.Cert, Allowed: "a file beside https addresses"}
	}
	return nil
}

// addresses reports whether all use TLS.
func (c *Config) addresses() (secure bool, err error) {
	for i, a := range c.Address {
		tls, host := splitAddress(a)
		if host == "" || i > 0 && tls != secure {
			return false, &setting.Error{Key: "address", Value: hidden(a), Allowed: allowedAddress}
		}
		secure = tls
	}
	if len(c.Address) == 0 || len(c.Address) > 100 {
		return false, &setting.Error{Key: "address", Value: len(c.Address), Allowed: allowedAddress}
	}
	return secure, nil
}

// splitAddress parses an address; host is "" if it is invalid.
func splitAddress(a string) (tls bool, host string) {
	if !strings.Contains(a, "://") {
		a = "http://" + a
	}
	u, err := url.Parse(a)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return false, ""
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%,") {
		return false, ""
	}
	return u.Scheme == "https", net.JoinHostPort(u.Hostname(), u.Port())
}

// hidden returns an address without anything that may be a password.
func hidden(a string) string {
	if i := strings.LastIndexByte(a, '@'); i >= 0 {
		a = "…" + a[i:]
	}
	a, _, _ = strings.Cut(a, "?")
	return a
}

var visible = regexp.MustCompile(`^[!-~]*$`)

func (c *Config) validPrefix() bool {
	p := strings.Trim(c.root(), "/")
	return p != "" && len(c.Prefix) <= 200 && visible.MatchString(c.Prefix) && !strings.Contains(c.Prefix, "//")
}

// root returns the prefix or the layout's default, without a trailing slash.
func (c *Config) root() string {
	p := c.Prefix
	if p == "" {
		p = layouts[c.Layout].prefix
	}
	return strings.TrimRight(p, "/")
}

// keys returns the common prefix of all instance keys.
func (c *Config) keys() string { return c.root() + layouts[c.Layout].under + "/" }

// named inserts a service's name into a route.
func named(text, name string) string { return strings.ReplaceAll(text, "{name}", name) }

var notInName = regexp.MustCompile(`[^A-Za-z0-9@_./:\[\]-]+`)

// Identity returns the first address and the prefix.
func (c *Config) Identity(func(string) string) string {
	host := ""
	if len(c.Address) > 0 {
		_, host = splitAddress(c.Address[0])
	}
	root := c.root()
	if !strings.HasPrefix(root, "/") {
		root = "/" + root
	}
	name := notInName.ReplaceAllString("etcd@"+host+root, "_")
	return name[:min(len(name), 200)]
}

// Silence returns how long a watch may be silent before it is checked, and how long that may take.
func (c *Config) Silence() time.Duration { return silence + limit }
