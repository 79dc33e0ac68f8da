package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"swallowkeeper/dyups/lua"
	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// nginxCommand is for an nginx from a distribution: it has no dyups module, and its Lua
// module takes that place.
func (p *program) nginxCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "nginx",
		Short: "Prepare an nginx that has no dyups module",
		Long: `nginx prepares an nginx that has no dyups module for swallowkeeper: with its Lua module it gets
the same API.`,
		Example: `  swallowkeeper nginx install-lua`,
		Args:    noSuchCommand,
		RunE:    missingCommand,
	}
	c.AddCommand(p.installLuaCommand())
	return c
}

func (p *program) installLuaCommand() *cobra.Command {
	cfg := lua.DefaultConfig()
	var force bool
	c := &cobra.Command{
		Use:   "install-lua",
		Short: "Install the dyups API for a stock nginx with its Lua module",
		Long: `install-lua writes a library and two files to include, which give a stock nginx with
its Lua module (Debian's libnginx-mod-http-lua, OpenResty) the dyups API. It says what to
paste into nginx.conf, and touches nothing but its own folder. A file there that somebody
has changed is never overwritten without --force. It may run again at any time.`,
		Example: `  sudo swallowkeeper nginx install-lua
  sudo swallowkeeper nginx install-lua --listen unix:/run/swallowkeeper-lua.sock`,
		Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return p.installLua(cfg, force)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Dir, "dir", cfg.Dir, "`FOLDER` that the files go to")
	f.StringVar(&cfg.Listen, "listen", "", "`ADDRESS` of the API: unix:/path, or loopback with a port; default unix:/run/dyups/dyups.sock "+
		"where that folder is there, else 127.0.0.1:18882")
	f.StringVar(&cfg.Upstreams, "upstreams", cfg.Upstreams, "conf `FILE` that the library reads when nginx starts (persist.path)")
	f.StringVar(&cfg.Dict, "dict", cfg.Dict, "`SIZE` of the shared memory: 16m holds 5,000 upstreams of 10 servers")
	f.BoolVar(&force, "force", false, "overwrite files that somebody has changed")
	_ = c.MarkFlagDirname("dir")
	_ = c.MarkFlagFilename("upstreams", "conf")
	return c
}

func (p *program) installLua(cfg lua.Config, force bool) error {
	if dir, err := filepath.Abs(cfg.Dir); err == nil {
		cfg.Dir = dir
	}
	if cfg.Listen == "" {
		cfg.Listen = lua.DefaultListen()
	}
	if err := cfg.Validate(); err != nil {
		return operate.Exit(status.ExitUsage, err)
	}
	results, err := lua.Install(cfg, force)
	switch {
	case errors.Is(err, lua.ErrChanged):
		return operate.Exit(status.ExitFailed, fmt.Errorf("nothing was written, --force overwrites:\n%w", err))
	case err != nil:
		return operate.Exit(status.ExitFailed, err)
	}
	for _, r := range results {
		fmt.Fprintf(p.stdout, "%-9s %s\n", r.State, r.Path)
	}
	fmt.Fprintf(p.stdout, `
Paste into nginx.conf (the first include once, the second wherever requests go to upstreams):

%s
No host reaches an upstream that your configuration does not name for it. Into /etc/swallowkeeper.toml:

%s
`, cfg.Paste(), cfg.Settings())
	path, socket := strings.CutPrefix(cfg.Listen, "unix:")
	if !socket {
		fmt.Fprintf(p.stdout, "Every account of this machine reaches %s. A socket is for few: docs/gateway-dyups.md.\n\n", cfg.Listen)
	} else {
		dir := filepath.Dir(path)
		if filepath.Dir(dir) == "/" || dir == "/var/run" { // many have something there
			dir += "/dyups"
		}
		fmt.Fprintf(p.stdout, `Only root and the account swallowkeeper should enter the folder of the socket:

    echo 'd %[1]s 0750 root swallowkeeper -' > /etc/tmpfiles.d/dyups.conf && systemd-tmpfiles --create dyups.conf

nginx does not start while a socket is there that an nginx left which was killed: docs/gateway-dyups.md has the line
for its unit that takes it away.

`, dir)
	}
	fmt.Fprintln(p.stdout, "Then: nginx -t && nginx -s reload")
	return nil
}
