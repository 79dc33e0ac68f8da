// Package cli is the command line: commands, flags, what they print, and exit codes. What it shows it has from
// [operate.Operator]; the daemon is handed to it. It decides nothing.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// Run is the whole program. It returns its exit code.
func (a Program) Run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := &program{Program: a, env: env, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetIn(a.Stdin)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return status.ExitInSync
	}
	var coded *operate.ExitError
	switch {
	case !errors.As(err, &coded):
		// What cobra itself finds wrong is always the usage.
		fmt.Fprintf(stderr, "swallowkeeper: %v\nTry: %s --help\n", err, command.CommandPath())
		return status.ExitUsage
	case !errors.Is(err, operate.ErrSaid):
		fmt.Fprintf(stderr, "swallowkeeper: %v\n", err)
	}
	return coded.Code
}
