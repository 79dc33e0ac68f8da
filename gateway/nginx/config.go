package nginx

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/route"
)

// Config is a [[gateway]] table with type = "nginx".
type Config struct {
	// Dir is the folder for the generations. nginx includes them through its link "current".
	Dir string `toml:"dir"`
	// Servers is how nginx gets the servers of upstreams: "reload", or "dyups" if a gateway of that type updates the
	// same nginx, and only routes are written here and reloaded.
	Servers string `toml:"servers"`
	// Hosts are the hosts whose server in nginx includes current/HOST/*.location.conf.
	Hosts []string `toml:"hosts"`
	// Check is the command that tests nginx's configuration before each reload.
	Check []string `toml:"check"`
	// Reload is the command that reloads nginx.
	Reload []string `toml:"reload"`
	// PID is the pid file of nginx's master, which then gets a HUP instead of Reload being run.
	PID string `toml:"pid"`
	// Container is the Docker container of nginx, in which Check and Reload run.
	Container string `toml:"container"`
	// Verify is the URL at which nginx returns the generation of a worker.
	Verify string `toml:"verify"`
	// CA, Cert and Key are PEM files for an https URL: trusted authorities and the client certificate.
	CA   string `toml:"ca" file:"true"`
	Cert string `toml:"cert" file:"true"`
	Key  string `toml:"key" file:"true"`
	// TLSServerName is the name in nginx's certificate and of the server that is asked, if it differs from Verify's
	// host.
	TLSServerName string `toml:"tls_server_name"`
	// MinInterval is the minimum time between reloads.
	MinInterval time.Duration `toml:"min_interval"`
	// MaxOldWorkers is the maximum number of workers that may be shutting down when nginx is reloaded.
	MaxOldWorkers int `toml:"max_old_workers"`

	// Timeout of a command, and of a reload until all workers show it.
	Timeout time.Duration `toml:"-"`
	// On is the machine of nginx, nil for this one.
	On Machine `toml:"-"`
}

// How nginx gets the servers of upstreams.
const (
	byReload = "reload"
	byDyups  = "dyups"
)

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Dir:           "/etc/nginx/swallowkeeper",
		Servers:       byReload,
		Check:         []string{"nginx", "-t"},
		Reload:        []string{"nginx", "-s", "reload"},
		Verify:        "http://127.0.0.1:80" + generationPath,
		MinInterval:   time.Second,
		MaxOldWorkers: 8,
		Timeout:       10 * time.Second,
	}
}

var containerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// Validate returns a *setting.Error for the first invalid key.
func (c Config) Validate() error {
	switch {
	case !validDir(c.Dir):
		return &setting.Error{Key: "dir", Value: c.Dir, Allowed: `an absolute path without blanks, quotes and * ? [ ] { } ; $ # \, such as "/etc/nginx/swallowkeeper"`}
	case c.Servers != byReload && c.Servers != byDyups:
		return &setting.Error{Key: "servers", Value: c.Servers, Allowed: `"reload" or "dyups"`}
	case !validHosts(c.Hosts):
		return &setting.Error{Key: "hosts", Value: c.Hosts, Allowed: `host names in lower case without wildcard and port, such as ["shop.example.com"]`}
	case !validCommand(c.Check):
		return &setting.Error{Key: "check", Value: c.Check, Allowed: `a command and its arguments, such as ["nginx", "-t"]`}
	case !validCommand(c.Reload):
		return &setting.Error{Key: "reload", Value: c.Reload, Allowed: `a command and its arguments, such as ["nginx", "-s", "reload"]`}
	case c.PID != "" && !filepath.IsAbs(c.PID):
		return &setting.Error{Key: "pid", Value: c.PID, Allowed: `an absolute path such as "/run/nginx.pid", or "" for none`}
	case c.Container != "" && !containerName.MatchString(c.Container):
		return &setting.Error{Key: "container", Value: c.Container, Allowed: `the name of a container, or "" for none`}
	case c.Container != "" && c.PID != "":
		return &setting.Error{Key: "container", Value: c.Container, Allowed: `"" beside pid: a HUP goes to one of them`}
	case !validVerify(c.Verify):
		return &setting.Error{Key: "verify", Value: c.Verify, Allowed: `an address such as "http://127.0.0.1:80/.swallowkeeper/generation", or with https`}
	case c.TLSServerName != "" && !validHosts([]string{c.TLSServerName}):
		return &setting.Error{Key: "tls_server_name", Value: c.TLSServerName, Allowed: `a host name in lower case such as "shop.example.com", or ""`}
	case c.MinInterval < 0 || c.MinInterval > time.Hour:
		return &setting.Error{Key: "min_interval", Value: c.MinInterval, Allowed: `a duration from "0s" to "1h"`}
	case c.MaxOldWorkers < 1 || c.MaxOldWorkers > 10_000:
		return &setting.Error{Key: "max_old_workers", Value: c.MaxOldWorkers, Allowed: "a number from 1 to 10000"}
	}
	return nil
}

// together returns which key needs another one. Such keys may come from different sources.
func (c Config) together() error {
	switch {
	case c.Cert != "" && c.Key == "":
		return &setting.Error{Key: "key", Value: c.Key, Allowed: "the file of the key of cert"}
	case c.Key != "" && c.Cert == "":
		return &setting.Error{Key: "cert", Value: c.Cert, Allowed: "the file of the certificate of key"}
	case strings.HasPrefix(c.Verify, "https:"):
		return nil
	}
	for _, only := range []struct{ key, value string }{{"ca", c.CA}, {"cert", c.Cert}, {"tls_server_name", c.TLSServerName}} {
		if only.value != "" {
			return &setting.Error{Key: only.key, Value: only.value, Allowed: `"" unless verify is an https address`}
		}
	}
	return nil
}

// validDir accepts paths that need no quoting in an include.
func validDir(s string) bool {
	return filepath.IsAbs(s) && filepath.Clean(s) != "/" && !strings.ContainsAny(s, "*?[]{};$#\\\"'") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// validHosts accepts valid folder names that no include pattern matches.
func validHosts(hosts []string) bool {
	return !slices.ContainsFunc(hosts, func(host string) bool {
		return host == "" || strings.HasSuffix(host, ".conf") || (route.Route{Host: host, Path: "/"}).Valid("") != nil
	})
}

func validCommand(argv []string) bool { return len(argv) > 0 && !slices.Contains(argv, "") }

func validVerify(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == "" &&
		strings.HasPrefix(u.Path, "/") && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
