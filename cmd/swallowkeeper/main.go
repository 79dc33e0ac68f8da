// Command swallowkeeper keeps an nginx's upstreams in sync with a service registry,
// without reloading nginx. This package joins the command line and the daemon; it
// has the signals that end the program, and its exit code.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"swallowkeeper/cli"
	"swallowkeeper/config"
	"swallowkeeper/daemon"
	"swallowkeeper/internal/logs"
)

// version is set by the linker for releases; else the build's own information is used.
var version = ""

func main() {
	if os.Getenv("GOGC") == "" {
		// Less memory for more collecting: nearly all garbage is JSON of answers, and what lives is small.
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logs.TakeStandard(logs.Silent(), "") // a library's line belongs into no command's answer; the daemon logs it
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the whole program. It returns its exit code.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	version := versionText()
	return cli.Program{
		Version: version,
		Daemon: func(ctx context.Context, load func() (config.Config, error)) error {
			return (&daemon.Daemon{Version: version, Load: load, Stderr: stderr}).Run(ctx)
		},
		Control: (&daemon.Daemon{Version: version}).Control,
	}.Run(ctx, args, env, stdout, stderr)
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
