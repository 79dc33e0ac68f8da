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

// nginxCommand sets up an nginx from a distribution: without a dyups module, it uses the Lua module instead.
func (p *program) nginxCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "nginx",
		Short: "Prepare an nginx without the dyups module",
		Long: `nginx prepares an nginx without the dyups module for swallowkeeper: its Lua module can
provide the same API.`,
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
		Long: `install-lua writes a library and two files to include. They give a stock nginx with its
Lua module (Debian's libnginx-mod-http-lua, OpenResty) the dyups API. It prints what to
paste into nginx.conf, and writes to its own folder only. A file there that somebody has
changed is not overwritten without --force. It is safe to run again at any time.`,
		Example: `  sudo swallowkeeper nginx install-lua
  sudo swallowkeeper nginx install-lua --listen unix:/run/swallowkeeper-lua.sock`,
		Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return p.installLua(cfg, force)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.Dir, "dir", cfg.Dir, "`FOLDER` for the files")
	f.StringVar(&cfg.Listen, "listen", "", "`ADDRESS` of the API: unix:/path, or loopback with a port; default unix:/run/dyups/dyups.sock "+
		"if that folder exists, else 127.0.0.1:18882")
	f.StringVar(&cfg.Upstreams, "upstreams", cfg.Upstreams, "conf `FILE` to read when nginx starts (persist.path)")
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
		return operate.Exit(status.ExitFailed, fmt.Errorf("nothing was written; --force overwrites:\n%w", err))
	case err != nil:
		return operate.Exit(status.ExitFailed, err)
	}
	for _, r := range results {
		fmt.Fprintf(p.stdout, "%-9s %s\n", r.State, r.Path)
	}
	fmt.Fprintf(p.stdout, `
Paste into nginx.conf (the first include once, the second wherever requests go to upstreams):

%s
A host reaches only the upstreams that your configuration names for it. Add to /etc/swallowkeeper.toml:

%s
`, cfg.Paste(), cfg.Settings())
	path, socket := strings.CutPrefix(cfg.Listen, "unix:")
	if !socket {
		fmt.Fprintf(p.stdout, "Every account of this machine can reach %s. Access to a socket can be limited: docs/gateway-dyups.md.\n\n", cfg.Listen)
	} else {
		dir := filepath.Dir(path)
		if filepath.Dir(dir) == "/" || dir == "/var/run" { // shared with other programs
			dir += "/dyups"
		}
		fmt.Fprintf(p.stdout, `Only root and the account swallowkeeper should enter the folder of the socket:

    echo 'd %[1]s 0750 root swallowkeeper -' > /etc/tmpfiles.d/dyups.conf && systemd-tmpfiles --create dyups.conf

A killed nginx leaves its socket behind, and nginx does not start while it exists: docs/gateway-dyups.md has the line
for the unit that removes it.

`, dir)
	}
	fmt.Fprintln(p.stdout, "Then: nginx -t && nginx -s reload")
	return nil
}
