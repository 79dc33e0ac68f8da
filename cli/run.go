// Package cli is the command line: commands, flags, output and exit codes. It gets everything it shows from
// [operate.Operator], and the daemon is passed to it. It makes no decisions.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"swallowkeeper/operate"
	"swallowkeeper/status"
)

// Run runs the program and returns its exit code.
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
		// An error of cobra itself is always about usage.
		fmt.Fprintf(stderr, "swallowkeeper: %v\nTry: %s --help\n", err, command.CommandPath())
		return status.ExitUsage
	case !errors.Is(err, operate.ErrReported):
		fmt.Fprintf(stderr, "swallowkeeper: %v\n", err)
	}
	return coded.Code
}
