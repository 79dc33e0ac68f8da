package dyups

import (
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/internal/setting"
)

// Config is one [[gateway]] table with type = "dyups".
type Config struct {
	// Address of the dyups_interface: http://host:port, or unix:/path/of/socket.
	Address string `toml:"address"`
	// NginxConf is the nginx.conf of that nginx, "auto" for the one that it was started with, "" for none: the
	// hosts that it proxies to and its upstreams are names that no service takes. Where it can't be read it
	// says nothing.
	NginxConf string `toml:"nginx_conf"`
	// ReadMsgTimeout is nginx's dyups_read_msg_timeout: how often a worker that nobody
	// asks reads the changes that the others took.
	ReadMsgTimeout time.Duration `toml:"read_msg_timeout"`
	// QueueBytes is nginx's dyups_shm_zone_size, in bytes: what may wait for the workers.
	QueueBytes int `toml:"queue_bytes"`

	// Timeout of one call.
	Timeout time.Duration `toml:"-"`
}

// DefaultConfig is what holds where the file says nothing; the last two are nginx's own defaults.
func DefaultConfig() Config {
	return Config{
		Address:        "http://127.0.0.1:18882",
		NginxConf:      gateway.FindNginxConf,
		Timeout:        10 * time.Second,
		ReadMsgTimeout: time.Second,
		QueueBytes:     2 << 20,
	}
}

// Validate returns a *setting.Error for the first key whose value is not allowed.
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
