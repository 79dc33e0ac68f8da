package persist

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"swallowkeeper/internal/safetext"
)

// CheckError reports that the check rejected a new file.
type CheckError struct {
	// Err names the command, how it ended, and the end of its output.
	Err error
}

// Error implements error.
func (e *CheckError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *CheckError) Unwrap() error { return e.Err }

// CheckFailed marks the error for callers that do not import this package, such as metrics.
func (e *CheckError) CheckFailed() bool { return true }

// runCheck runs the command. At the limit, or when ctx ends, it kills the whole process group.
func runCheck(ctx context.Context, command []string, limit time.Duration) error {
	run, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(run, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		// The check passed, but a process it left behind still holds its output.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		err = nil
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("check %q: %w", strings.Join(command, " "), ctx.Err())
	case run.Err() != nil:
		err = fmt.Errorf("no answer within %s: %w", limit, run.Err())
	}
	err = fmt.Errorf("check %q: %w", strings.Join(command, " "), err)
	if text := out.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return &CheckError{err}
}

// tail keeps the end of what is written to it.
type tail struct {
	kept []byte
	cut  bool
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	size := len(p)
	if size > tailSize {
		p, t.cut = p[size-tailSize:], true
	}
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = t.kept[:copy(t.kept, t.kept[over:])]
		t.cut = true
	}
	return size, nil
}

// String returns the text without characters that would disturb a terminal.
func (t *tail) String() string {
	text := safetext.Output(string(t.kept))
	if t.cut {
		return "…" + text
	}
	return text
}
