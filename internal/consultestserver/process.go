package consultestserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"swallowkeeper/internal/childtest"
)

// process is a program that was started, and perhaps has ended. The nil process is one that never
// started.
type process struct {
	cmd   *exec.Cmd
	ended context.Context // over once the program has ended and was waited for
}

// startProcess starts a program whose output goes to the end of a file.
func startProcess(ctx context.Context, logFile, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer log.Close() // the program has its own descriptor

	// A test's context ends before its clean-ups run, and those may still need the program.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childtest.EndWithParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer end()
		// How it ended is in cmd.ProcessState; a killed one is no error here.
		_ = cmd.Wait()
	}()
	return &process{cmd: cmd, ended: ended}, nil
}

// stop asks the program to end and waits; one that does not end within the limit is killed.
func (p *process) stop(limit time.Duration) error {
	if p == nil {
		return nil
	}
	err := p.signal(syscall.SIGTERM)
	// A paused program would not see the request.
	err = errors.Join(err, p.signal(syscall.SIGCONT))
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, p.kill())
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended.Done():
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("it did not end within %s", limit), p.kill())
	}
}

// kill ends the program at once, also a paused one, and waits.
func (p *process) kill() error {
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended.Done()
	return nil
}

// pause stops the program until a SIGCONT and waits until it has stopped.
func (p *process) pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return childtest.AwaitStopped(p.cmd.Process.Pid)
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send %s: %w", s, err)
	}
	return nil
}

// state says how the program ended. Only for one that has.
func (p *process) state() *os.ProcessState {
	<-p.ended.Done()
	return p.cmd.ProcessState
}
