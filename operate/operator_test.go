package operate

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"swallowkeeper/status"
	"swallowkeeper/status/client"
)

// answering is an Operator whose every answer is an error, or a status with this version.
type answering struct {
	Operator
	err     error
	version string
	asked   int
}

func (a *answering) Status(context.Context) (status.Status, error) {
	a.asked++
	return status.Status{Version: a.version}, a.err
}

func (a *answering) Freeze(context.Context, status.FreezeRequest, string) error {
	a.asked++
	return a.err
}

// TestEitherAsksWhoeverAnswers: the daemon's own errors are its answer; a daemon that is away is told of once, and
// not asked again.
func TestEitherAsksWhoeverAnswers(t *testing.T) {
	t.Parallel()
	refused, strict := errors.New("refused"), errors.New("this daemon and no other")
	for name, tt := range map[string]struct {
		live, away, want error
		alone            bool
	}{
		"the daemon answers": {},
		"it says no":         {live: refused, want: refused},
		"it is away":         {live: fmt.Errorf("dial: %w", client.ErrUnreachable), alone: true},
		"it alone is meant":  {live: client.ErrUnreachable, away: strict, want: strict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live, offline, told := &answering{err: tt.live, version: "live"}, &answering{version: "offline"}, 0
			e := &Either{Live: live, Offline: offline, Away: func(error, string) error { told++; return tt.away }}
			st, err := e.Status(t.Context())
			if !errors.Is(err, tt.want) || e.Alone() != tt.alone || (err == nil && st.Version == "offline") != tt.alone {
				t.Errorf("%+v, %v, alone %v", st, err, e.Alone())
			}
			if err := e.Freeze(t.Context(), status.FreezeRequest{}, ""); !errors.Is(err, tt.want) {
				t.Errorf("the order: %v", err)
			}
			if tt.alone && (live.asked != 1 || told != 1 || offline.asked != 2) {
				t.Errorf("asked %d times, told %d times, the files were asked %d times", live.asked, told, offline.asked)
			}
		})
	}
}
