package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"swallowkeeper/config"
	"swallowkeeper/internal/setting"
	"swallowkeeper/registry/docker"
	"swallowkeeper/registry/etcd"
)

// DefaultPath is the configuration file to read if it exists and no other is given.
const DefaultPath = "/etc/swallowkeeper-agent.toml"

// Config is the configuration of an agent.
type Config struct {
	Common
	// Docker is as in [[registry]] with type = "docker".
	Docker docker.Config
	Etcd   EtcdConfig
	Consul ConsulConfig
}

// Common are the keys outside of tables.
type Common struct {
	// Node is the name under which this engine registers; "" for the host name.
	Node string `toml:"node"`
	// HostIP is the address of this machine. With it, containers are registered at their published ports unless the
	// table [docker] says otherwise.
	HostIP string `toml:"host_ip"`
	// OnStop is "keep" to leave everything registered when the agent ends, or "remove".
	OnStop string `toml:"on_stop"`
	// TTL is how long registrations outlive a dead agent.
	TTL time.Duration `toml:"ttl"`
	// Resync is how often registrations are compared.
	Resync time.Duration `toml:"resync"`
	// Socket is the path for status and stop; "" for a path with the node's name.
	Socket string `toml:"socket"`
}

// EtcdConfig configures writing to etcd.
type EtcdConfig struct {
	// Address are the client URLs of the members.
	Address []string `toml:"address"`
	// Layout is "swallowkeeper" or "chipmunks".
	Layout string `toml:"layout"`
	// Prefix is the prefix of all keys; "" for the layout's default.
	Prefix       string `toml:"prefix"`
	Username     string `toml:"username"`
	PasswordFile string `toml:"password_file"`
	CA           string `toml:"ca"`
	Cert         string `toml:"cert"`
	Key          string `toml:"key"`
}

// ConsulConfig configures writing to Consul.
type ConsulConfig struct {
	// Address of a Consul agent. Other settings come from the environment: CONSUL_HTTP_TOKEN and the like.
	Address string `toml:"address"`
	// DeregisterAfter is when Consul itself removes what no agent keeps alive.
	DeregisterAfter time.Duration `toml:"deregister_after"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	d := docker.DefaultConfig()
	d.Swarm = "off" // each node of a swarm has an agent for its own containers
	return Config{
		Common: Common{OnStop: keep, TTL: 15 * time.Second, Resync: 30 * time.Second}, Docker: d,
		Etcd: EtcdConfig{Layout: ownLayout}, Consul: ConsulConfig{DeregisterAfter: time.Minute},
	}
}

// registry returns the configuration of a registry that reads what is written.
func (c *EtcdConfig) registry() *etcd.Config {
	return &etcd.Config{
		Address: c.Address, Layout: c.Layout, Prefix: c.Prefix, Username: c.Username, PasswordFile: c.PasswordFile, CA: c.CA, Cert: c.Cert, Key: c.Key,
	}
}

// within adds the table to the error about a key.
func within(table string, err error) error {
	var wrong *setting.Error
	if errors.As(err, &wrong) {
		wrong.Key = table + wrong.Key
	}
	return err
}

const (
	keep            = "keep"
	remove          = "remove"
	ownLayout       = "swallowkeeper"
	chipmunksLayout = "chipmunks"
)

// Flags are the values of the command line, or "".
type Flags struct{ Etcd, Consul, Node, HostIP, Socket string }

// Load reads a file, or the default one if it exists. Flags override it.
func Load(path string, f Flags) (Config, error) {
	c := DefaultConfig()
	if path == "" {
		if _, err := os.Stat(DefaultPath); err == nil {
			path = DefaultPath
		}
	}
	var read config.Read
	if path != "" {
		var err error
		read, err = config.Tables{"": &c.Common, "docker": &c.Docker, "etcd": &c.Etcd, "consul": &c.Consul}.Read(path)
		if err != nil {
			return c, err
		}
	}
	if f.Etcd != "" {
		c.Etcd.Address = strings.Split(f.Etcd, ",")
		read.Overridden("etcd.address")
	}
	for _, flag := range []struct {
		key   string
		to    *string
		value string
	}{
		{"consul.address", &c.Consul.Address, f.Consul},
		{"node", &c.Node, f.Node},
		{"host_ip", &c.HostIP, f.HostIP},
		{"socket", &c.Socket, f.Socket},
	} {
		if flag.value != "" {
			*flag.to = flag.value
			read.Overridden(flag.key)
		}
	}
	if c.HostIP != "" {
		c.Docker.HostIP = c.HostIP
		if !read.Has("docker.address") {
			c.Docker.Address = "published"
		}
	}
	if c.Node == "" {
		c.Node, _ = os.Hostname()
		c.Node = strings.ToLower(c.Node)
	}
	if c.Socket == "" {
		c.Socket = socketOf(c.Node)
	}
	if err := c.Validate(); err != nil {
		return c, read.Locate(err)
	}
	return c, nil
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// ErrNoTarget means that no registry to write to is configured.
var ErrNoTarget = errors.New("nothing says where to write: give --etcd URL, --consul URL, or a table [etcd] or [consul] with address")

// Validate returns what is wrong.
func (c *Config) Validate() error {
	switch {
	case !nodeName.MatchString(c.Node):
		return &setting.Error{Key: "node", Value: c.Node, Allowed: "up to 64 letters, digits and . _ -"}
	case c.OnStop != keep && c.OnStop != remove:
		return &setting.Error{Key: "on_stop", Value: c.OnStop, Allowed: `"keep" or "remove"`}
	case c.TTL < 5*time.Second || c.TTL > time.Hour || c.TTL%time.Second != 0:
		return &setting.Error{Key: "ttl", Value: c.TTL, Allowed: `whole seconds from "5s" to "1h"`}
	case c.Resync < time.Second || c.Resync > time.Hour:
		return &setting.Error{Key: "resync", Value: c.Resync, Allowed: `a duration from "1s" to "1h"`}
	case !filepath.IsAbs(c.Socket):
		return &setting.Error{Key: "socket", Value: c.Socket, Allowed: "an absolute path"}
	case c.Consul.DeregisterAfter < time.Minute:
		return &setting.Error{Key: "consul.deregister_after", Value: c.Consul.DeregisterAfter, Allowed: `a duration from "1m" on, which is Consul's least`}
	case c.Etcd.Layout != ownLayout && c.Etcd.Layout != chipmunksLayout:
		return &setting.Error{Key: "etcd.layout", Value: c.Etcd.Layout, Allowed: `"swallowkeeper" or "chipmunks"`}
	case c.Etcd.Layout == chipmunksLayout && len(c.Etcd.Address) > 0 && strings.Trim(c.Node, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return &setting.Error{Key: "node", Value: c.Node, Allowed: "small letters and digits, as Chipmunks reads it: the swarm's id of the node, or that of /etc/machine-id"}
	case c.Etcd.Prefix != "" && (!strings.HasPrefix(c.Etcd.Prefix, "/") || strings.HasSuffix(c.Etcd.Prefix, "/")):
		return &setting.Error{Key: "etcd.prefix", Value: c.Etcd.Prefix, Allowed: "a path such as /swallowkeeper"}
	case (c.Etcd.Username == "") != (c.Etcd.PasswordFile == ""):
		return &setting.Error{Key: "etcd.username", Value: c.Etcd.Username, Allowed: "username and password_file together"}
	case (c.Etcd.Cert == "") != (c.Etcd.Key == ""):
		return &setting.Error{Key: "etcd.cert", Value: c.Etcd.Cert, Allowed: "cert and key together"}
	case c.Consul.Address == "" && len(c.Etcd.Address) == 0:
		return ErrNoTarget
	}
	for _, a := range c.Etcd.Address {
		u, err := url.Parse(a)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" || u.User != nil {
			return &setting.Error{Key: "etcd.address", Value: a, Allowed: "URLs such as http://127.0.0.1:2379"}
		}
	}
	if c.HostIP != "" {
		if ip, err := netip.ParseAddr(c.HostIP); err != nil || ip.IsUnspecified() {
			return &setting.Error{Key: "host_ip", Value: c.HostIP, Allowed: "the IP address of this machine"}
		}
	}
	return within("docker.", c.Docker.Validate())
}

// socketOf returns the default socket of the agent of a node.
func socketOf(node string) string {
	dir := "/run/swallowkeeper"
	if os.Geteuid() != 0 {
		dir = os.Getenv("XDG_RUNTIME_DIR")
		if dir == "" {
			dir = filepath.Join(os.TempDir(), fmt.Sprintf("swallowkeeper-%d", os.Geteuid()))
		}
	}
	return filepath.Join(dir, "agent-"+node+".sock")
}
