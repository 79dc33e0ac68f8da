package docker

import (
	"cmp"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// defaultHost is dockerd's default address.
const defaultHost = "unix:///var/run/docker.sock"

// Config is a [[registry]] table with type = "docker".
type Config struct {
	// Host is the engine's address: unix:///PATH or tcp://HOST:PORT. The default is DOCKER_HOST, or
	// unix:///var/run/docker.sock.
	Host string `toml:"host"`
	// CertPath is a folder with ca.pem, cert.pem and key.pem for TLS over tcp. The default is DOCKER_CERT_PATH.
	CertPath string `toml:"cert_path" file:"true"`
	// TLSVerify verifies the engine's certificate. DOCKER_TLS_VERIFY enables it too.
	TLSVerify bool `toml:"tls_verify"`
	// Networks are tried in order for the address of a container that names none.
	Networks []string `toml:"networks"`
	// Address is "network" for a container's own address, or "published" for HostIP and a published port.
	Address string `toml:"address"`
	// HostIP is the address of the engine's machine, for published ports and containers on the host network.
	HostIP string `toml:"host_ip"`
	// Swarm is "auto" to read services and tasks if the engine is a swarm manager, or "off".
	Swarm string `toml:"swarm"`
	// Expose is "labelled" for containers with certain labels, or "all" for each one with a name.
	Expose string `toml:"expose"`
	// Include and Exclude are names or globs of services; an empty Include matches all.
	Include []string `toml:"include"`
	Exclude []string `toml:"exclude"`
	// Interval is how often a swarm's tasks are read, as no event reports those on other nodes.
	Interval time.Duration `toml:"interval"`
	// Resync is how often everything is read without an event.
	Resync time.Duration `toml:"resync"`
}

// Values of Address, Swarm and Expose.
const (
	onNetwork   = "network"
	published   = "published"
	swarmAuto   = "auto"
	swarmOff    = "off"
	exposeMarks = "labelled"
	exposeAll   = "all"
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Address: onNetwork, HostIP: "127.0.0.1", Swarm: swarmAuto, Expose: exposeMarks,
		Interval: time.Second, Resync: 10 * time.Second,
	}
}

// Kind returns the type "docker".
func Kind() registry.Kind {
	return registry.Kind{
		Name: "docker",
		Config: func() registry.Config {
			c := DefaultConfig()
			return &c
		},
		Metrics: newMetrics,
		Example: `[[registry]]
type     = "docker"
host     = "unix:///var/run/docker.sock"
networks = ["web"]                        # where a container on several networks is reached
`,
		Environment: "**DOCKER_HOST**, **DOCKER_CERT_PATH** and **DOCKER_TLS_VERIFY**",
	}
}

const (
	allowedHost  = "unix:///PATH or tcp://HOST:PORT; of an engine behind ssh forward the socket: ssh -N -L /run/remote.sock:/var/run/docker.sock HOST"
	allowedGlobs = "names or globs such as web-*, where * is any characters, ? one and [a-c] a range"
)

// Validate returns a *setting.Error for the first invalid key.
func (c *Config) Validate() error {
	if c.Host != "" {
		if _, _, err := splitHost(c.Host); err != nil {
			return err
		}
	}
	ip, err := netip.ParseAddr(c.HostIP)
	switch {
	case err != nil || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "":
		return &setting.Error{Key: "host_ip", Value: c.HostIP, Allowed: "the IP address of the engine's machine"}
	case c.Address != onNetwork && c.Address != published:
		return &setting.Error{Key: "address", Value: c.Address, Allowed: `"network" or "published"`}
	case c.Swarm != swarmAuto && c.Swarm != swarmOff:
		return &setting.Error{Key: "swarm", Value: c.Swarm, Allowed: `"auto" or "off"`}
	case c.Expose != exposeMarks && c.Expose != exposeAll:
		return &setting.Error{Key: "expose", Value: c.Expose, Allowed: `"labelled" or "all"`}
	case c.Interval < 100*time.Millisecond || c.Interval > time.Hour:
		return &setting.Error{Key: "interval", Value: c.Interval, Allowed: `a duration from "100ms" to "1h"`}
	case c.Resync < 100*time.Millisecond || c.Resync > time.Hour:
		return &setting.Error{Key: "resync", Value: c.Resync, Allowed: `a duration from "100ms" to "1h"`}
	}
	for _, n := range c.Networks {
		if n == "" {
			return &setting.Error{Key: "networks", Value: n, Allowed: "names of networks"}
		}
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

// splitHost parses an engine's address.
func splitHost(host string) (proto, addr string, err error) {
	wrong := &setting.Error{Key: "host", Value: shownHost(host), Allowed: allowedHost}
	proto, addr, _ = strings.Cut(host, "://")
	switch proto {
	case "unix":
		if !filepath.IsAbs(addr) || strings.ContainsRune(addr, 0) {
			return "", "", wrong
		}
		return proto, filepath.Clean(addr), nil
	case "tcp":
		u, err := url.Parse("tcp://" + addr)
		if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return "", "", wrong
		}
		if u.Port() == "" {
			return "", "", wrong
		}
		return proto, u.Host, nil
	}
	return "", "", wrong
}

// shownHost returns a host without anything that may be a password.
func shownHost(host string) string {
	proto, addr, is := strings.Cut(host, "://")
	if at := strings.LastIndexByte(addr, '@'); is && at >= 0 {
		return proto + "://…" + addr[at:]
	}
	return host
}

// host returns the engine's address from the configuration or the environment.
func (c *Config) host(getenv func(string) string) string {
	return cmp.Or(c.Host, getenv("DOCKER_HOST"), defaultHost)
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_./:\[\]-]+`)

// Identity returns the engine's address.
func (c *Config) Identity(getenv func(string) string) string {
	proto, addr, err := splitHost(c.host(getenv))
	if err != nil {
		proto, addr = "", "wrong-host"
	}
	if proto == "unix" && c.Host == "" && getenv("DOCKER_HOST") == "" {
		return "docker"
	}
	name := "docker@" + notInName.ReplaceAllString(addr, "_")
	return name[:min(len(name), 200)]
}

// Silence returns how long a change may go unnoticed.
func (c *Config) Silence() time.Duration { return c.Resync }

// tls returns the folder of the certificates, "" for no TLS, and whether to verify the engine's certificate.
func (c *Config) tls() (folder string, verify bool) {
	folder = cmp.Or(c.CertPath, os.Getenv("DOCKER_CERT_PATH"))
	verify = c.TLSVerify || os.Getenv("DOCKER_TLS_VERIFY") != ""
	if folder == "" && verify {
		if home, err := os.UserHomeDir(); err == nil {
			folder = filepath.Join(home, ".docker")
		}
	}
	return folder, verify
}
