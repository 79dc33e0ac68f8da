package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"swallowkeeper/config"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/operate"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
)

// How a command finds the daemon: flags override the environment, the file and the defaults. If the socket can't be
// reached, the address is tried.

// Environment variables that locate the daemon.
const (
	envAddress = "SWALLOWKEEPER_STATUS_ADDRESS"
	envSocket  = "SWALLOWKEEPER_STATUS_SOCKET"
	envToken   = "SWALLOWKEEPER_STATUS_TOKEN"
)

// configure reads the configuration. A command that only reads works without it, as the packaged file is readable only
// by the daemon's group.
func (o *operator) configure() error {
	if err := o.nameURL(); err != nil {
		return err
	}
	cfg, err := o.load()
	if err != nil && !o.steers {
		if bare, bareErr := operate.Kinds().LoadReadable(o.configPath, o.env, o.overrides()); bareErr == nil {
			o.cfg, o.unread = bare, err
			return nil
		}
	}
	if err != nil {
		cfg, err = o.withoutFile(err)
	}
	o.cfg = cfg
	return err
}

// nameURL uses a URL in the environment as the flag --address. The daemon's key has no scheme, so a value with one can
// only be meant for the commands.
func (o *operator) nameURL() error {
	if o.address != "" && o.socket != "" {
		return errors.New("--address and --socket: give one of them")
	}
	if at := o.getenv(envAddress); strings.Contains(at, "://") {
		o.env = slices.DeleteFunc(slices.Clone(o.env), func(e string) bool { return strings.HasPrefix(e, envAddress+"=") })
		if o.address == "" && o.socket == "" {
			url, err := daemonURL(envAddress, at)
			if err != nil {
				return operate.Exit(status.ExitUsage, err)
			}
			o.address = url
		}
	}
	o.fixed = o.address != "" || o.socket != ""
	return nil
}

func (o *operator) getenv(name string) string {
	for _, e := range slices.Backward(o.env) {
		if value, is := strings.CutPrefix(e, name+"="); is {
			return value
		}
	}
	return ""
}

// withoutFile replaces a configuration that can't be used. The file may be being edited while the daemon still runs
// with the old one, so a flag that names the daemon is enough.
func (o *operator) withoutFile(err error) (config.Config, error) {
	switch {
	case len(o.set) > 0:
		return config.Config{}, err
	case !o.fixed:
		return config.Config{}, fmt.Errorf("%w\nto ask the running daemon anyway: --socket %s", err, operate.Kinds().Default().Status.Socket)
	}
	fmt.Fprintf(o.stderr, "swallowkeeper: %v; asking the daemon that the flag names anyway\n", err)
	cfg := operate.Kinds().Default()
	cfg.Status.Token = o.getenv(envToken)
	return cfg, nil
}

// way is one way to the daemon: a socket or a URL.
type way struct{ socket, url string }

func (w way) String() string { return cmp.Or(w.socket, w.url) }

func (w way) client(token string) *client.Client {
	if w.socket != "" {
		return client.Socket(w.socket)
	}
	return client.Address(w.url, token)
}

// ways returns the ways to the daemon, best first.
func (o *operator) ways(token string) ([]way, error) {
	switch {
	case o.socket != "":
		return []way{{socket: o.socket}}, nil
	case o.address != "":
		at, err := daemonURL("--address", o.address)
		return []way{{url: at}}, err
	}
	var ways []way
	if socket := o.cfg.Status.Socket; socket != "" {
		ways = append(ways, way{socket: socket})
	}
	// Over TCP, changes need a token.
	if at := o.cfg.Status.Address; at != "" && (!o.steers || token != "" || len(ways) == 0) {
		ways = append(ways, way{url: "http://" + dialable(at)})
	}
	if len(ways) == 0 {
		return nil, operate.Exit(status.ExitUsage, errors.New("status.socket and status.address are both switched off: the daemon can't be reached"))
	}
	if o.getenv(envAddress) != "" && o.getenv(envSocket) == "" {
		slices.Reverse(ways)
	}
	return ways, nil
}

// daemonURL completes what a flag or the environment names: a URL or host:port.
func daemonURL(where, at string) (string, error) {
	wrong := fmt.Errorf("%s %q: allowed is a URL, e.g. http://127.0.0.1:9180, or host:port", where, at)
	scheme, rest, given := strings.Cut(at, "://")
	if !given {
		if _, _, err := net.SplitHostPort(at); err != nil {
			return "", wrong
		}
		return "http://" + dialable(at), nil
	}
	if scheme != "http" && scheme != "https" || rest == "" {
		return "", wrong
	}
	return at, nil
}

// dialable turns a listen address into one to dial: a wildcard address includes loopback.
func dialable(at string) string {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return at
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}

// mostReaching limits the search at one place.
const mostReaching = 2 * time.Second

// reach chooses the first way at which a daemon answers. If none answers, it chooses the first one, so that the error
// is about the intended daemon.
func (o *operator) reach(ctx context.Context) error {
	token := o.token()
	ways, err := o.ways(token)
	if err != nil {
		return err
	}
	for i, w := range ways {
		c := w.client(token)
		why := ""
		if len(ways) > 1 {
			why = o.unanswered(ctx, c, i > 0)
		}
		if why == "" {
			o.client, o.missing = c, nil
			return nil
		}
		c.Close()
		if i > 0 {
			o.missing = append(o.missing, fmt.Sprintf("%s: %s", w, why))
		}
	}
	o.client = ways[0].client(token)
	return nil
}

// unanswered returns why a daemon can't be asked this way, or "". Except for the first way, the daemon must have this
// configuration, if there is one.
func (o *operator) unanswered(ctx context.Context, c *client.Client, other bool) string {
	ctx, cancel := context.WithTimeout(ctx, mostReaching)
	defer cancel()
	if err := c.Reach(ctx); err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return err.Error()
	}
	if !other || !o.configured() {
		return ""
	}
	st, err := c.Status(ctx)
	switch {
	case err != nil:
		return err.Error()
	case filepath.Clean(st.File) != filepath.Clean(o.cfg.Persist.Path):
		return "a daemon that writes " + safetext.Line(st.File) + " answers there"
	}
	return ""
}

// configured reports whether a conf file is configured.
func (o *operator) configured() bool {
	return o.cfg.File != "" || o.cfg.Persist.Path != persist.DefaultConfig().Path
}

// byToken reports whether the token identifies the daemon when no configuration does.
func (o *operator) byToken() bool {
	return !o.configured() && o.client.HasToken()
}

// token returns the token for changes over TCP.
func (o *operator) token() string {
	if o.cfg.Status.TokenFile == "" {
		return o.cfg.Status.Token
	}
	text, err := os.ReadFile(o.cfg.Status.TokenFile)
	o.tokenErr = err
	return strings.TrimSpace(string(text))
}

// nowhere adds the other places that were tried to the error for an unreachable daemon, and why each failed.
func (o *operator) nowhere(err error) error {
	if !errors.Is(err, client.ErrUnreachable) && !errors.Is(err, fs.ErrPermission) || o.Alone() {
		return err
	}
	for _, m := range o.missing {
		err = fmt.Errorf("%w; nor at %s", err, m)
	}
	if o.unread != nil {
		err = operate.Exit(status.ExitUsage, fmt.Errorf("%w; %w: name the daemon by --socket or --address, "+
			"or run this as root or as a member of the daemon's group", err, o.unread))
	}
	return err
}
