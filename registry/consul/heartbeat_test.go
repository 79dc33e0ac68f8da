package consul

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"swallowkeeper/internal/consultestserver"
)

// quickened beats faster, so that tests need not wait.
func quickened(r *Registry) *Registry {
	r.beat = beat{every: 50 * time.Millisecond, again: 20 * time.Millisecond, limit: time.Second}
	return r
}

// TestRealFrozen tells soon of an agent that keeps its connections open and does not answer, keeps what was read,
// and goes on when it answers again.
func TestRealFrozen(t *testing.T) {
	server := consultestserver.Start(t)
	c := server.Client(t)
	registerReal(t, c, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	w := run(t, quickened(newTestRegistry(t, testConfig(server.Addr), silent())))
	w.servers("web", 1)
	server.Pause()
	expectTrouble(t, w.r, "hear from the agent: no answer in time")
	server.Resume()
	eventually(t, "no trouble", func() bool { return w.r.Condition().Trouble == nil })
	registerReal(t, c, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
	w.servers("web", 2)
	if n := w.count(); n != 2 {
		t.Errorf("%d sets published, want 2", n)
	}
}

// TestHeartbeat takes any answer of an agent for one, but not the news that there is no leader.
func TestHeartbeat(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		says   string
	}{
		{"a leader", 200, `"10.0.0.1:8300"`, ""},
		{"not allowed here", 403, "Permission denied", ""},
		{"not known here", 404, "", ""},
		{"too many connections", 429, "Your IP is issuing too many concurrent connections", ""},
		{"no leader", 200, `""`, errNoLeader.Error()},
		{"no server", 500, "rpc error: No known Consul servers", "No known Consul servers"},
		{"nobody behind a proxy", 502, "", "status 502"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := startMeddler(t)
			m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
			m.meddle(func(r *http.Request, a *httptest.ResponseRecorder) {
				if r.URL.Path == "/v1/status/leader" {
					replace(test.status, "application/json", test.body)(r, a)
				}
			})
			w := run(t, quickened(newTestRegistry(t, testConfig(m.front), silent())))
			w.servers("web", 1)
			if test.says != "" {
				expectTrouble(t, w.r, test.says)
				m.meddle(nil)
				eventually(t, "no trouble", func() bool { return w.r.Condition().Trouble == nil })
				return
			}
			eventually(t, "some beats", func() bool { return m.questions("/v1/status/leader") > 3 })
			if err := w.r.Condition().Trouble; err != nil {
				t.Error(err)
			}
		})
	}
}
