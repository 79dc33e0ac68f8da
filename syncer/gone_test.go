package syncer

import (
	"fmt"
	"testing"

	"swallowkeeper/upstream"
)

// A service for each commit comes and goes for as long as the daemon runs.
func TestWhatIsGoneIsForgottenInTheEnd(t *testing.T) {
	g := gone{names: names{}}
	const all = 3 * mostGone
	for i := range all {
		g.add([]upstream.Upstream{{Name: fmt.Sprintf("App-%d", i)}, {Name: "again"}})
	}
	if len(g.names) != mostGone || len(g.order) != mostGone || cap(g.order) > 4*mostGone {
		t.Errorf("%d names are remembered, %d in order, room for %d", len(g.names), len(g.order), cap(g.order))
	}
	for name, want := range map[string]bool{
		"again": true, fmt.Sprintf("app-%d", all-1): true, fmt.Sprintf("app-%d", all-mostGone+1): true,
		fmt.Sprintf("app-%d", all-mostGone): false, "app-0": false,
	} {
		if g.names.has(name) != want {
			t.Errorf("%s is remembered: %v, want %v", name, !want, want)
		}
	}

	g.forget(upstream.NewSet([]upstream.Upstream{{Name: "Again"}, {Name: "other"}}))
	if g.names.has("again") || len(g.order) != mostGone-1 {
		t.Errorf("what is wanted again is still gone: %d names", len(g.order))
	}
}
