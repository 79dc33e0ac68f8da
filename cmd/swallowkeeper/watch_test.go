package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// watching is a watch under way.
type watching struct {
	t    *testing.T
	errs buffer
	stop context.CancelFunc
	code chan int
}

func watch(t *testing.T, d *desk, stdout io.Writer, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{t: t, stop: cancel, code: make(chan int, 1)}
	go func() {
		w.code <- run(ctx, append([]string{"watch"}, args...), []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "TERM=xterm"}, stdout, &w.errs)
	}()
	return w
}

func (w *watching) ends() {
	w.t.Helper()
	w.stop()
	if code := <-w.code; code != status.ExitInSync {
		w.t.Errorf("exit code %d: %s", code, w.errs.String())
	}
}

// tells has something happen until the output shows it.
func (d *desk) tells(what string, out fmt.Stringer) {
	d.t.Helper()
	eventually(d.t, patience, what, func() bool {
		d.fake.Tell(status.Event{Kind: "pushed", Gateway: "edge\x1b[31m", Text: reason.Text(what + "\n\x1b[2J"), TookMS: 3.2})
		return strings.Contains(out.String(), what)
	})
}

// comesBack has the daemon go, something happen, and the daemon come back.
func (d *desk) comesBack(says, out fmt.Stringer) {
	d.t.Helper()
	d.stop()
	eventually(d.t, patience, "the daemon is missed", func() bool { return strings.Contains(says.String(), "lost the daemon") })
	d.fake.Tell(status.Event{Kind: "pushed", Text: reason.Text("what was missed")})
	d.start()
	eventually(d.t, patience, "what was missed", func() bool { return strings.Contains(out.String(), "what was missed") })
}

func TestWatchInAPipe(t *testing.T) {
	t.Parallel()
	for _, output := range []string{"text", "json", "yaml"} {
		var out buffer
		d := newDesk(t, statustest.New())
		w := watch(t, d, &out, "--output", output)
		eventually(t, patience, "what happened before", func() bool {
			last := d.fake.Timeline(15)
			return strings.Contains(out.String(), last[0].Text.String()) && strings.Contains(out.String(), last[len(last)-1].Text.String())
		})
		d.tells("an event", &out)
		d.comesBack(&w.errs, &out)
		w.ends()
		plain(t, out.String())
		if n := strings.Count(out.String(), "what was missed"); n != 1 {
			t.Errorf("as %s it says %d times what was missed", output, n)
		}
		for line := range strings.Lines(out.String()) {
			if output == "json" && !json.Valid([]byte(line)) {
				t.Errorf("no line of JSON: %s", line)
			}
		}
	}
}
