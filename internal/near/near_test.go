package near_test

import (
	"strings"
	"testing"

	"swallowkeeper/internal/near"
)

func TestWord(t *testing.T) {
	t.Parallel()
	known := []string{"status", "upstreams", "history", "diff", "doctor"}
	for given, want := range map[string]string{
		"statsu": "status", "STATUS": "status", "upstream": "upstreams", "hsitory": "history", "dif": "diff", "docter": "doctor",
		"": "", "x": "", "nothing": "", strings.Repeat("status", 100): "",
	} {
		if got := near.Word(given, known); got != want {
			t.Errorf("near %q is %q, want %q", given, got, want)
		}
	}
}
