package consultest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"swallowkeeper/registry/consul/consultest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call does a request without a network, so that it may be done where time is faked.
func call(t *testing.T, s *consultest.Server, method, path, body string) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.String()
}

// checkOf returns a service's first check, nil where the service is not there.
func checkOf(t *testing.T, s *consultest.Server, service string) *api.HealthCheck {
	t.Helper()
	var checks []*api.HealthCheck
	must(t, json.Unmarshal([]byte(call(t, s, "GET", "/v1/health/checks/"+service, "")), &checks))
	if len(checks) == 0 {
		return nil
	}
	return checks[0]
}

func TestTTLTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New(consultest.Options{})
		defer s.Close()
		call(t, s, "PUT", "/v1/agent/service/register", `{"Name": "x", "Check": {"TTL": "10s", "Status": "passing"}}`)
		for range 3 { // reported in time, again and again
			time.Sleep(9 * time.Second)
			call(t, s, "PUT", "/v1/agent/check/pass/service:x", "")
		}
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		equal(t, "just before", checkOf(t, s, "x").Status, "passing")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		equal(t, "status", checkOf(t, s, "x").Status, "critical")
		equal(t, "output", checkOf(t, s, "x").Output, "TTL expired")
		// A late report makes it well again, for another ten seconds.
		time.Sleep(4 * time.Second)
		call(t, s, "PUT", "/v1/agent/check/pass/service:x", "")
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		equal(t, "after a late report", checkOf(t, s, "x").Status, "passing")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		equal(t, "and its end", checkOf(t, s, "x").Status, "critical")
	})
}

func TestDeregisterCritical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := consultest.New(consultest.Options{})
		defer s.Close()
		// Below the least that Consul takes, which is a minute.
		call(t, s, "PUT", "/v1/agent/service/register",
			`{"Name": "x", "Check": {"TTL": "10s", "Status": "passing", "DeregisterCriticalServiceAfter": "1s"}}`)
		call(t, s, "PUT", "/v1/agent/service/register", `{"Name": "y", "Check": {"TTL": "10s", "Status": "passing"}}`)
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if c := checkOf(t, s, "x"); c == nil || c.Status != "critical" {
			t.Fatalf("critical for less than a minute, it is %+v", c)
		}
		call(t, s, "PUT", "/v1/agent/check/pass/service:x", "")
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if checkOf(t, s, "x") == nil {
			t.Fatal("deregistered though it was well in between")
		}
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if checkOf(t, s, "x") != nil {
			t.Error("still registered")
		}
		if checkOf(t, s, "y") == nil {
			t.Error("deregistered without having asked for it")
		}
	})
}

func TestWaitIsBounded(t *testing.T) {
	for _, tt := range []struct {
		query string
		wait  time.Duration
	}{
		{"", 5 * time.Minute},
		{"&wait=0s", 5 * time.Minute},
		{"&wait=1h", 10 * time.Minute},
		{"&wait=7s", 7 * time.Second},
	} {
		t.Run(tt.query, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := consultest.New(consultest.Options{})
				defer s.Close()
				begin := time.Now()
				call(t, s, "GET", "/v1/catalog/services?index=1000"+tt.query, "")
				if took := time.Since(begin); took < tt.wait || took > tt.wait+tt.wait/16 {
					t.Errorf("waited %v, not %v to a sixteenth more", took, tt.wait)
				}
			})
		})
	}
}

func TestProbesStayOnThisMachine(t *testing.T) {
	s := consultest.New(consultest.Options{})
	defer s.Close()
	away := httptest.NewServer(http.RedirectHandler("http://192.0.2.1/", http.StatusFound))
	defer away.Close()
	for _, tt := range []struct{ name, check string }{
		{"http", `{"HTTP": "http://192.0.2.1:80/", "Interval": "1s"}`},
		{"name", `{"HTTP": "http://example.test/", "Interval": "1s"}`},
		{"redirect", `{"HTTP": "` + away.URL + `", "Interval": "1s"}`},
		{"tcp", `{"TCP": "192.0.2.1:80", "Interval": "1s"}`},
		{"tcp-name", `{"TCP": "example.test:80", "Interval": "1s"}`},
	} {
		call(t, s, "PUT", "/v1/agent/service/register", `{"Name": "`+tt.name+`", "Check": `+tt.check+`}`)
		eventually(t, tt.name+" is refused", func() bool {
			c := checkOf(t, s, tt.name)
			return c.Status == "critical" && strings.Contains(c.Output, "the dev registry checks loopback addresses only")
		})
	}
}

func TestThresholds(t *testing.T) {
	s := consultest.New(consultest.Options{MinCheckInterval: time.Millisecond})
	defer s.Close()
	status := make(chan int)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case code := <-status:
			w.WriteHeader(code)
		case <-r.Context().Done():
		}
	}))
	defer backend.Close()
	call(t, s, "PUT", "/v1/agent/service/register", `{"Name": "x", "Check": {"HTTP": "`+backend.URL+`", "Interval": "1ms",
		"SuccessBeforePassing": 2, "FailuresBeforeWarning": 2, "FailuresBeforeCritical": 3}}`)
	for i, step := range []struct {
		code int
		want string
	}{
		{200, "passing"}, // the first result counts at once
		{500, "passing"},
		{500, "warning"},
		{500, "critical"},
		{200, "critical"},
		{200, "passing"},
	} {
		status <- step.code
		if i > 0 && step.want == checkOf(t, s, "x").Status {
			continue // nothing to wait for: the next step would tell
		}
		eventually(t, "it is "+step.want, func() bool { return checkOf(t, s, "x").Status == step.want })
	}
	// A check that is being probed ends with its service, and the server does not wait for an answer.
	call(t, s, "PUT", "/v1/agent/service/deregister/x", "")
}

func TestSetUp(t *testing.T) {
	s, addr := start(t, consultest.Options{NodeName: "here"})
	c := newSuite(t, addr)
	must(t, s.Register(api.CatalogRegistration{Service: &api.AgentService{Service: "x", Port: 1}}))
	must(t, s.Register(api.CatalogRegistration{
		Check: &api.AgentCheck{CheckID: "c", Name: "c", ServiceID: "x", Status: "passing"},
	}))
	equal(t, "node's address", c.health(t, "x")["x"].Node.Address, "127.0.0.1")
	equal(t, "node's checks", c.health(t, "x")["x"].Checks[0].CheckID, "serfHealth")
	must(t, s.SetCheck("", "c", "warning"))
	equal(t, "status", c.status(t, "x", "x"), "warning")
	if err := s.SetCheck("", "nix", "warning"); err == nil {
		t.Error("a check that is not there was set")
	}
	if err := s.Register(api.CatalogRegistration{Node: "n", Check: &api.AgentCheck{Name: "c", ServiceID: "nix"}}); err == nil {
		t.Error("a check without its service was registered")
	}
	must(t, s.Deregister(api.CatalogDeregistration{ServiceID: "x"}))
	equal(t, "left", len(c.health(t, "x")), 0)
}
