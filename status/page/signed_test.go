package page_test

import (
	"strings"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestThePageSaysWhoDidIt in the freezes, the timeline and the history.
func TestThePageSaysWhoDidIt(t *testing.T) {
	f := statustest.New()
	if err := f.Freeze(t.Context(), status.FreezeRequest{Name: "login"}, generation.Signature{By: "alice", Why: "<b>{name}</b>"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Rollback(t.Context(), 10, generation.Signature{By: "bob"}); err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string]string{"en": " · by ", "zh": " · 操作者："} {
		page := get(t, f, "/?lang="+language, "").Body.String()
		if n := strings.Count(page, want+"alice: &lt;b&gt;{name}&lt;/b&gt;"); n != 2 { // the freeze and its event
			t.Errorf("%s: alice stands there %d times", language, n)
		}
		if n := strings.Count(page, want+"bob"); n != 3 { // the freeze, the event, and the history
			t.Errorf("%s: bob stands there %d times", language, n)
		}
	}
}
