// Command swallowkeeper keeps an nginx's upstreams in sync with a service registry,
// without reloading nginx. This package is the command line: it reads the
// configuration, chooses and wires the parts, and turns what they say into words
// and exit codes. It decides nothing about traffic.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"swallowkeeper/internal/logs"
)

// version is set by the linker for releases; else the build's own information is used.
var version = ""

// Exit codes, as the documentation promises them.
const (
	exitInSync    = 0 // everything is done and in sync
	exitFailed    = 1 // a registry, the file or the program itself failed
	exitUsage     = 2 // wrong usage or configuration
	exitHeld      = 3 // the guard holds a change
	exitOutOfSync = 4 // some gateway is out of sync
)

// exitError is an error that ends the program with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error { return &exitError{code: code, err: err} }

// codeOf is the exit code for an error.
func codeOf(err error) int {
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// errSaid ends the program after everything was said already.
var errSaid = errors.New("said already")

func main() {
	if os.Getenv("GOGC") == "" {
		// Nearly all garbage is JSON of answers, and what lives is small: collecting it twice
		// as often costs little and keeps a third of the memory free.
		debug.SetGCPercent(50)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logs.TakeStandard(silent(), "") // a library's line belongs into no command's answer; the daemon logs it
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the whole program. It returns its exit code.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := &program{env: env, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitInSync
	}
	var coded *exitError
	switch {
	case !errors.As(err, &coded):
		// What cobra itself finds wrong is always the usage.
		fmt.Fprintf(stderr, "swallowkeeper: %v\nTry: %s --help\n", err, command.CommandPath())
		return exitUsage
	case !errors.Is(err, errSaid):
		fmt.Fprintf(stderr, "swallowkeeper: %v\n", err)
	}
	return coded.code
}
