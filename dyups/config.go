package dyups

import (
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/setting"
)

// Config is a [[gateway]] table with type = "dyups".
type Config struct {
	// Address is the dyups_interface: http://host:port, or unix:/path/of/socket.
	Address string `toml:"address"`
	// NginxConf is the path of that nginx's nginx.conf; "auto" finds the one it was started with, "" uses none. No
	// service may use the names in it: its upstreams, and the hosts that it proxies to. If it can't be read, no names
	// are reserved.
	NginxConf string `toml:"nginx_conf"`
	// ReadMsgTimeout is nginx's dyups_read_msg_timeout: how often an idle worker reads the changes that other workers
	// received.
	ReadMsgTimeout time.Duration `toml:"read_msg_timeout"`
	// QueueBytes is nginx's dyups_shm_zone_size in bytes: the size of the queue shared by the workers.
	QueueBytes int `toml:"queue_bytes"`

	// Timeout limits one call.
	Timeout time.Duration `toml:"-"`
}

// DefaultConfig returns the defaults; ReadMsgTimeout and QueueBytes are nginx's own.
func DefaultConfig() Config {
	return Config{
		Address:        "http://127.0.0.1:18882",
		NginxConf:      gateway.FindNginxConf,
		Timeout:        10 * time.Second,
		ReadMsgTimeout: time.Second,
		QueueBytes:     2 << 20,
	}
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (c Config) Validate() error {
	switch {
	case !validAddress(c.Address):
		return &setting.Error{Key: "address", Value: c.Address, Allowed: `"http://host:port" or "unix:/path/of/socket"`}
	case c.NginxConf != "" && c.NginxConf != gateway.FindNginxConf && !filepath.IsAbs(c.NginxConf):
		return &setting.Error{Key: "nginx_conf", Value: c.NginxConf, Allowed: `"auto", an absolute path such as "/etc/nginx/nginx.conf", or "" for none`}
	case c.ReadMsgTimeout < time.Millisecond || c.ReadMsgTimeout > time.Minute:
		return &setting.Error{Key: "read_msg_timeout", Value: c.ReadMsgTimeout, Allowed: `a duration from "1ms" to "1m"`}
	case c.QueueBytes < 64<<10 || c.QueueBytes > 1<<30:
		return &setting.Error{Key: "queue_bytes", Value: c.QueueBytes, Allowed: "a number of bytes from 65536 to 1073741824"}
	}
	return nil
}

func validAddress(s string) bool {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return filepath.IsAbs(path)
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "http" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		(u.Path == "" || u.Path == "/")
}
