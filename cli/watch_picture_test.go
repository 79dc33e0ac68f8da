package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestThePictureFitsTheTerminal: whatever is held, the way out, the gateways and the last events are there.
func TestThePictureFitsTheTerminal(t *testing.T) {
	t.Parallel()
	st := statustest.New().Status()
	st.Holds[0].Servers = nil
	for i := range 60 {
		st.Holds[0].Servers = append(st.Holds[0].Servers, status.HeldServer{Upstream: fmt.Sprintf("u%02d", i/2), Addr: fmt.Sprintf("10.0.0.%d:80", i)})
	}
	w := &watcher{operator: &operator{program: &program{}, c: newPalette(false)}, live: true, last: &st}
	for i := range tailLength {
		w.tail = append(w.tail, fmt.Sprintf("event %02d", i))
	}
	for _, height := range []int{1, 5, 12, 24, 40, 200} {
		lines := w.picture(height)
		text := strings.Join(lines, "\n")
		if len(lines) > height {
			t.Errorf("%d lines on %d:\n%s", len(lines), height, text)
		}
		if height < 24 {
			continue
		}
		for _, part := range []string{"swallowkeeper approve ", "stays: u00 10.0.0.0:80 10.0.0.1:80", "more servers", "gateway edge-1", "event 11", "event 14"} {
			if !strings.Contains(text, part) {
				t.Errorf("on %d lines it lacks %q:\n%s", height, part, text)
			}
		}
	}
	if lines := w.picture(200); !slices.Contains(lines, "event 00") || !strings.Contains(strings.Join(lines, "\n"), "u19") {
		t.Errorf("with room for all:\n%s", strings.Join(lines, "\n"))
	}
}
