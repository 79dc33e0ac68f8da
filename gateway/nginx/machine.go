package nginx

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"time"

	"swallowkeeper/internal/nginxproc"
)

// Machine is everything a gateway does besides accessing its folder. Tests may replace it.
type Machine interface {
	// Run runs a command until it or the context ends, and returns its output.
	Run(ctx context.Context, argv []string) (output []byte, err error)
	// Find returns the current process of that ID. A signal to it never reaches another process that reuses the ID.
	Find(pid int) (Process, error)
	// Processes returns the process table.
	Processes() nginxproc.Table
}

// Process is a process that can be signalled.
type Process interface {
	Signal(s os.Signal) error
	Release() error
}

// System is this machine.
func System() Machine { return system{} }

type system struct{}

// mostOutput limits the kept output of a command.
const mostOutput = 64 << 10

func (system) Run(ctx context.Context, argv []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // configured by the operator
	cmd.WaitDelay = time.Second
	out := &beginning{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out.Bytes(), err
}

func (system) Find(pid int) (Process, error) { return os.FindProcess(pid) }

func (system) Processes() nginxproc.Table { return nginxproc.System() }

// beginning keeps the beginning of what is written to it.
type beginning struct{ bytes.Buffer }

func (b *beginning) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), mostOutput-b.Len())])
	return len(p), nil
}
