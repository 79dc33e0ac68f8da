package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/registry"
)

const sayAgain = time.Minute

// troubles records what currently can't be read, and logs it without flooding: hundreds of loops fail alike when their
// agent is gone.
type troubles struct {
	log logrus.FieldLogger

	mu     sync.Mutex
	loops  map[string]error
	logged map[string]time.Time // by reason; kept across recoveries, so that flapping does not flood the log
	told   bool                 // whether the current trouble was logged
	since  time.Time
	// lapsed is when the list last could not be read, or something was older than before.
	lapsed time.Time
}

func newTroubles(log logrus.FieldLogger) *troubles {
	return &troubles{log: log, loops: map[string]error{}, logged: map[string]time.Time{}}
}

// report records that the loop failed to do what. A reason is logged when it is new, and then once a minute.
func (t *troubles) report(loop, what string, err error) {
	reason := common(err)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if len(t.loops) == 0 {
		t.since = now
	}
	trouble := errors.New(reason)
	if refused(err) {
		trouble = registry.Lasting(trouble)
	}
	t.loops[loop] = fmt.Errorf("%s: %w", what, trouble)
	if loop == listLoop || loop == heartbeatLoop {
		t.lapsed = now
	}
	if last, ok := t.logged[reason]; ok && now.Sub(last) < sayAgain {
		return
	}
	for r, last := range t.logged {
		if now.Sub(last) >= sayAgain {
			delete(t.logged, r)
		}
	}
	t.logged[reason] = now
	t.told = true
	t.log.WithFields(logrus.Fields{"error": reason, "failing": len(t.loops)}).
		Error("can't " + what + ": what is not known stays as it is")
}

// lapse records that the servers' state has gone backwards: they lost it, or an older one was restored.
func (t *troubles) lapse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lapsed = time.Now()
}

// over records that the loop works, or has ended.
func (t *troubles) over(loop string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.loops[loop]; !ok {
		return
	}
	delete(t.loops, loop)
	if len(t.loops) > 0 {
		return
	}
	if !t.told {
		return
	}
	t.told = false
	t.log.WithField("after", time.Since(t.since).Round(time.Millisecond).String()).Info("everything can be read again")
}

// clear removes everything without logging.
func (t *troubles) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.loops)
	clear(t.logged)
	t.told = false
}

func (t *troubles) condition() registry.Condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := registry.Condition{Lapsed: t.lapsed}
	if n := len(t.loops); n > 0 {
		c.Trouble, c.Since = t.loops[slices.Min(slices.Collect(maps.Keys(t.loops)))], t.since
		if n > 1 {
			c.Trouble = fmt.Errorf("%w (and %d more can't be read)", c.Trouble, n-1)
		}
	}
	return c
}

// common returns the part of an error that is common to loops that fail alike, fit for a log: without the query, our
// own port, and pages of text.
func common(err error) string {
	var status api.StatusError
	var op *net.OpError
	var u *url.Error
	switch {
	case errors.As(err, &status):
		text := fmt.Sprintf("status %d", status.Code)
		if body := bodyQuoted(status.Body); body != "" {
			text += " " + body
		}
		switch status.Code {
		case 403:
			return text + ": the token is refused"
		case 429:
			return text + ": too many connections or queries for this agent"
		}
		return text
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op):
		to := ""
		if op.Addr != nil {
			to = " " + op.Addr.String()
		}
		return op.Op + to + ": " + op.Err.Error()
	case errors.As(err, &u):
		return safetext.Cut(u.Err.Error(), mostText)
	}
	return safetext.Cut(err.Error(), mostText)
}

// mostText limits foreign text that is kept or logged, in bytes.
const mostText = 300

// bodyQuoted quotes the beginning of a body.
func bodyQuoted(s string) string {
	words := strings.Fields(s)
	s = strings.Join(words[:min(len(words), 20)], " ")
	if s == "" || slices.Contains([]string{"<html>", "<!DOCTYPE"}, words[0]) {
		return ""
	}
	return safetext.Quote(s)
}
