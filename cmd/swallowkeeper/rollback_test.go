package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestRollbackAsks has a person at a terminal, who gives every kind of answer, and none.
func TestRollbackAsks(t *testing.T) {
	t.Parallel()
	for answer, goes := range map[string]bool{
		"y\n": true, "yes\n": true, " Y \n": true,
		"\n": false, "n\n": false, "yesterday\n": false, "\x04": false, // the last is the end of the input
	} {
		t.Run(fmt.Sprintf("%q", answer), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, statustest.New())
			for _, output := range []string{"text", "json"} {
				before := d.fake.Status().Generation.Number
				code, said := onTerminal(t, d, "[y/N] ", answer, "rollback", "10", "--output", output, "--timeout", "60s")
				if went := d.fake.Status().Generation.Number > before; went != goes {
					t.Errorf("went: %v, want %v: %s", went, goes, said)
				}
				if want := map[bool]int{true: status.ExitInSync, false: status.ExitFailed}[goes]; code != want {
					t.Errorf("exit code %d, want %d: %s", code, want, said)
				}
				if !goes && !strings.Contains(said, "nothing was changed") {
					t.Errorf("it says %s", said)
				}
			}
		})
	}
}

// TestRollbackWithoutATerminal does nothing without a clear word, and --yes is one.
func TestRollbackWithoutATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	before := d.fake.Status().Generation.Number
	for _, output := range []string{"text", "json"} {
		d.call("rollback", "10", "--output", output).wants(t, status.ExitUsage, "--yes")
	}
	if now := d.fake.Status().Generation.Number; now != before {
		t.Errorf("generation %d is written", now)
	}
	d.call("rollback", "10", "-y").wants(t, status.ExitInSync, "generation 13 has the upstreams of 10")
}

// onTerminal runs the program on a terminal of its own and answers its question. NO_COLOR says
// nothing about who sits there.
func onTerminal(t *testing.T, d *desk, question, answer string, args ...string) (code int, said string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = []string{
		asProgram + "=1", "GORACE=atexit_sleep_ms=0", "NO_COLOR=1",
		"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "SWALLOWKEEPER_PERSIST_PATH=" + d.conf,
	}
	person, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer person.Close()
	var screen buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(&screen, person)
	}()
	eventually(t, patience, "the question", func() bool { return strings.Contains(screen.String(), question) })
	if _, err := person.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	<-read
	return cmd.ProcessState.ExitCode(), screen.String()
}
