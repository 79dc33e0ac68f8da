package caddy_test

import (
	"strings"
	"testing"

	"swallowkeeper/gateway/caddy/caddytest"
)

// TestExamine: a route before our place that answers everything is found, and one with a match is not.
func TestExamine(t *testing.T) {
	for config, want := range map[string]bool{
		`{"handle":[{"handler":"static_response","body":"mine"}]},{"@id":"swallowkeeper"}`:                              true,
		`{"match":[{"path":["/mine"]}],"handle":[{"handler":"static_response","body":"mine"}]},{"@id":"swallowkeeper"}`: false,
		`{"@id":"swallowkeeper"},{"handle":[{"handler":"static_response","body":"mine"}]}`:                              false,
	} {
		r := double(t, false)
		d, err := caddytest.New(caddytest.Options{Config: `{"apps":{"http":{"servers":{"srv0":{"listen":[":80"],"routes":[` + config + `]}}}}}`})
		if err != nil {
			t.Fatal(err)
		}
		r.to = serve(t, d.ServeHTTP)
		x, err := r.gateway(t).Examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := len(x.Findings) == 1 && strings.Contains(x.Findings[0].What, "srv0/routes/0 takes all of them"); got != want {
			t.Errorf("%s: %v", config, x.Findings)
		}
	}
}
