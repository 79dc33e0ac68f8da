package consul

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/registry/consul/consultest"
)

// meddler stands before a double and changes its answers as the test says.
type meddler struct {
	*double
	front string

	mu     sync.Mutex
	change func(r *http.Request, a *httptest.ResponseRecorder)
	asked  map[string]int
}

func startMeddler(t testing.TB) *meddler {
	t.Helper()
	m := &meddler{double: startDouble(t, consultest.Options{}), asked: map[string]int{}}
	m.front = answering(t, func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked[r.URL.Path]++
		m.mu.Unlock()
		a := httptest.NewRecorder()
		m.ServeHTTP(a, r)
		m.mu.Lock()
		if m.change != nil {
			m.change(r, a)
		}
		m.mu.Unlock()
		if a.Code == abort {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), a.Header())
		w.WriteHeader(a.Code)
		_, _ = w.Write(a.Body.Bytes())
		if a.Code == http.StatusOK && a.Header().Get("Content-Length") != "" {
			panic(http.ErrAbortHandler) // cut short on purpose
		}
	})
	return m
}

// abort is a status that cuts the connection instead of an answer.
const abort = 999

// meddle has every answer changed from now on; nil ends it.
func (m *meddler) meddle(change func(r *http.Request, a *httptest.ResponseRecorder)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change = change
}

func (m *meddler) questions(path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[path]
}

// replace is an answer of the given status and body.
func replace(status int, kind, body string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Code = status
		a.Header().Set("Content-Type", kind)
		a.Body.Reset()
		a.Body.WriteString(body)
	}
}

func header(key, value string) func(*http.Request, *httptest.ResponseRecorder) {
	return func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Set(key, value) }
}

// unreadable are answers that must never be believed, each with what is said about it.
var unreadable = []struct {
	name   string
	answer func(*http.Request, *httptest.ResponseRecorder)
	says   string
}{
	{"status 500", replace(500, "text/plain", "No cluster leader\n"), `status 500 "No cluster leader"`},
	{"status 429", replace(429, "text/plain", "Your IP is issuing too many concurrent connections"), "too many connections"},
	{"status 403", replace(403, "text/plain", "ACL not found"), "the token is refused"},
	{"status 404", replace(404, "text/plain", ""), "status 404"},
	{"a redirect", replace(302, "text/html", "<html>"), "status 302"},
	{"HTML", replace(200, "text/html; charset=utf-8", "<!DOCTYPE html><h1>It works!</h1>"), "not Consul's API"},
	{"HTML that says it is JSON", replace(200, "application/json", "<html>"), "invalid character"},
	{"null", replace(200, "application/json", "null"), "null"},
	{"nothing", replace(200, "application/json", ""), "EOF"},
	{"another type", replace(200, "application/json", `"x"`), "cannot unmarshal"},
	{"a cut body", func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Set("Content-Length", "100000")
		a.Body.Truncate(a.Body.Len() / 2)
	}, "EOF"},
	{"a cut connection", replace(abort, "", ""), "EOF"},
	{"no leader", func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Set("X-Consul-KnownLeader", "false")
		a.Header().Set("X-Consul-Query-Backend", "blocking-query")
	}, "no leader"},
	{"no word of a leader", func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Del("X-Consul-KnownLeader")
		a.Header().Del("X-Consul-Query-Backend")
	}, "no leader"},
	{"too old", header("X-Consul-LastContact", "10001"), "10.001s old"},
	{"filtered by ACLs", header("X-Consul-Results-Filtered-By-ACLs", "true"), "acl_filtered"},
	{"anonymous under deny", header("X-Consul-Default-ACL-Policy", "deny"), "there is no token"},
}

// TestUnreadable has what was read stay as it is, and what was not read yet unpublished,
// for as long as answers can't be believed, whichever of the queries they answer.
func TestUnreadable(t *testing.T) {
	for _, test := range unreadable {
		for _, path := range []string{"/v1/catalog/services", "/v1/health/service/", "/v1/"} {
			t.Run(test.name+" from "+path, func(t *testing.T) {
				t.Parallel()
				m := startMeddler(t)
				fault := func(r *http.Request, a *httptest.ResponseRecorder) {
					if strings.HasPrefix(r.URL.Path, path) && r.URL.Path != "/v1/agent/self" {
						test.answer(r, a)
					}
				}
				m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
				m.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
				m.meddle(fault)
				r := newTestRegistry(t, testConfig(m.front), silent())
				w := run(t, r)
				expectTrouble(t, r, test.says)
				if n := w.count(); n > 0 {
					t.Fatalf("%d sets published from the start: %v", n, w.last().Names())
				}
				m.meddle(nil)
				w.servers("web", 2)
				eventually(t, "no trouble", func() bool { return r.Condition().Trouble == nil })

				before := w.count()
				m.meddle(fault)
				// Both queries wake.
				m.register(t, registration("n1", "web", "w3", "10.0.0.3", 80, "passing"))
				expectTrouble(t, r, test.says)
				if path != "/v1/catalog/services" && w.count() > before {
					t.Fatalf("published %v", w.last().Names())
				}
				m.meddle(nil)
				w.servers("web", 3)
			})
		}
	}
}

func expectTrouble(t *testing.T, r *Registry, says string) {
	t.Helper()
	var last error
	defer func() {
		if t.Failed() {
			t.Logf("the last trouble: %v", last)
		}
	}()
	eventually(t, "trouble: "+says, func() bool {
		last = r.Condition().Trouble
		return last != nil && strings.Contains(last.Error(), says)
	})
}

// TestACLFilteredAccepted reads what a token is allowed to see.
func TestACLFilteredAccepted(t *testing.T) {
	m := startMeddler(t)
	m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	m.meddle(func(_ *http.Request, a *httptest.ResponseRecorder) {
		a.Header().Set("X-Consul-Results-Filtered-By-ACLs", "true")
		a.Header().Set("X-Consul-Default-ACL-Policy", "deny")
	})
	cfg := testConfig(m.front)
	cfg.ACLFiltered = "accept"
	run(t, newTestRegistry(t, cfg, silent())).servers("web", 1)
}

// TestHang notices an agent that takes queries and answers none.
func TestHang(t *testing.T) {
	m := startMeddler(t)
	m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	cfg := testConfig(m.front)
	cfg.Wait = time.Second
	r := newTestRegistry(t, cfg, silent())
	r.grace = 200 * time.Millisecond
	w := run(t, r)
	w.servers("web", 1)
	m.Hang(true)
	expectTrouble(t, r, "no answer in time")
	m.Hang(false)
	m.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
	w.servers("web", 2)
	eventually(t, "no trouble", func() bool { return r.Condition().Trouble == nil })
}

// TestShrinkIsConfirmed has the leader decide where much is gone at once.
func TestShrinkIsConfirmed(t *testing.T) {
	list := func(r *http.Request) bool { return r.URL.Path == "/v1/catalog/services" }
	web := func(r *http.Request) bool { return r.URL.Path == "/v1/health/service/web" }
	for _, test := range []struct {
		name    string
		lies    func(*http.Request) bool
		body    string // "": the answer, older and with the last element gone
		confirm func(*http.Request, *httptest.ResponseRecorder)
		says    string
	}{
		{"an empty list", list, `{}`, nil, ""},
		{"a list with half", list, `{"web":[]}`, nil, ""},
		{"no instance", web, `[]`, nil, ""},
		{"an older list without one", list, ``, nil, ""},
		{"older instances without one", web, ``, nil, ""},
		{"an empty list that nobody confirms", list, `{}`, replace(500, "", "No cluster leader"), "confirm that services are gone"},
		{"no instance and nobody confirms", web, `[]`, replace(500, "", "No cluster leader"), "confirm that instances are gone"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := startMeddler(t)
			for _, service := range []string{"web", "api", "job"} {
				m.register(t, registration("n1", service, service+"1", "10.0.0.1", 80, "passing"))
				m.register(t, registration("n1", service, service+"2", "10.0.0.2", 80, "passing"))
			}
			r := newTestRegistry(t, testConfig(m.front), silent())
			w := run(t, r)
			w.servers("job", 2)
			var confirmed atomic.Int64
			m.meddle(func(r *http.Request, a *httptest.ResponseRecorder) {
				switch {
				case !test.lies(r):
				case !r.URL.Query().Has("consistent") && test.body == "":
					older(t, a)
				case !r.URL.Query().Has("consistent"):
					replace(200, "application/json", test.body)(r, a)
				default:
					confirmed.Add(1)
					if test.confirm != nil {
						test.confirm(r, a)
					}
				}
			})
			m.register(t, registration("n1", "web", "web3", "10.0.0.3", 80, "passing"))
			eventually(t, "the leader is asked", func() bool { return confirmed.Load() > 0 })
			if test.says != "" {
				expectTrouble(t, r, "status 500")
			}
			for _, name := range []string{"web", "api", "job"} {
				if n := serversOf(w.last(), name); n < 2 {
					t.Errorf("%s has %d servers", name, n)
				}
			}
			m.meddle(nil)
			w.servers("web", 3)
		})
	}
}

// TestTheFirstListIsConfirmed: there is nothing yet that a part of a list could be compared with, and what
// the conf file has from before would be taken away.
func TestTheFirstListIsConfirmed(t *testing.T) {
	t.Parallel()
	m := startMeddler(t)
	for _, service := range []string{"web", "api", "job"} {
		m.register(t, registration("n1", service, service+"1", "10.0.0.1", 80, "passing"))
	}
	m.meddle(func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.URL.Path == "/v1/catalog/services" && !r.URL.Query().Has("consistent") {
			older(t, a)
		}
	})
	w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
	w.servers("job", 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if first := w.sets[0]; first.Len() != 3 {
		t.Errorf("the first set has %d services", first.Len())
	}
}

// older makes an answer of one that a server gives which has not read all of its log yet: its index
// is lower, and what came last is not there.
func older(t *testing.T, a *httptest.ResponseRecorder) {
	t.Helper()
	var list []json.RawMessage
	var services map[string][]string
	body := a.Body.Bytes()
	var part any
	switch {
	case json.Unmarshal(body, &list) == nil && len(list) > 0:
		part = list[:len(list)-1]
	case json.Unmarshal(body, &services) == nil:
		delete(services, "job")
		part = services
	default:
		t.Errorf("the answer is %s", body)
	}
	text, err := json.Marshal(part)
	if err != nil {
		t.Error(err)
	}
	a.Body.Reset()
	a.Body.Write(text)
	a.Header().Set("X-Consul-Index", "2")
}

// TestShrinkThatIsTrue is believed.
func TestShrinkThatIsTrue(t *testing.T) {
	m := startMeddler(t)
	for _, service := range []string{"web", "api", "job"} {
		m.register(t, registration("n1", service, service+"1", "10.0.0.1", 80, "passing"))
	}
	w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
	w.servers("job", 1)
	m.AnswerEmpty(true)
	w.until("empty", func(s upstreamSet) bool { return s.Len() == 0 })
	m.AnswerEmpty(false)
	w.servers("job", 1)
}

// TestIndexes goes on whatever happens to the index.
func TestIndexes(t *testing.T) {
	t.Run("backwards", func(t *testing.T) {
		m := startMeddler(t)
		m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
		w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
		w.servers("web", 1)
		eventually(t, "both queries wait", func() bool { return m.Waiting() == 2 })
		m.ResetIndex()
		m.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
		w.servers("web", 2)
		if err := w.r.Condition().Trouble; err != nil {
			t.Error(err)
		}
	})
	for _, test := range []struct{ name, index string }{{"zero", "0"}, {"missing", ""}} {
		t.Run(test.name, func(t *testing.T) {
			m := startMeddler(t)
			m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
			m.meddle(header("X-Consul-Index", test.index))
			w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
			w.servers("web", 1)
			m.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
			w.servers("web", 2)
		})
	}
}

// TestHotLoopIsBounded has an agent answer every query at once with a new index.
func TestHotLoopIsBounded(t *testing.T) {
	m := startMeddler(t)
	m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	var index atomic.Int64
	index.Store(1000)
	hot := answering(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Del("index")
		r.URL.RawQuery = q.Encode()
		m.mu.Lock()
		m.asked[r.URL.Path]++
		m.mu.Unlock()
		a := httptest.NewRecorder()
		m.ServeHTTP(a, r)
		maps.Copy(w.Header(), a.Header())
		w.Header().Set("X-Consul-Index", itoa(index.Add(1)))
		_, _ = w.Write(a.Body.Bytes())
	})
	w := run(t, newTestRegistry(t, testConfig(hot), silent()))
	w.servers("web", 1)
	const path = "/v1/health/service/web"
	eventually(t, "beyond the burst", func() bool { return m.questions(path) > paceBurst+2 })
	began, before := time.Now(), m.questions(path)
	eventually(t, "ten more", func() bool { return m.questions(path) >= before+10 })
	if took := time.Since(began); took < 9*paceEvery {
		t.Errorf("10 rounds took %s, want at least %s", took, 9*paceEvery)
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d sets published, want 1", n)
	}
}

// TestHostileNames leaves what is wrong out and never asks for it.
func TestHostileNames(t *testing.T) {
	m := startMeddler(t)
	hostile := map[string]string{
		"list": `{"web":["a"],"x { server 6.6.6.6; } upstream y":[],"../../kv/secret":null,"a\u0000b":[],"10.0.0.1":[],"consul":[],"` +
			strings.Repeat("l", 10_000) + `":[]}`,
	}
	m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	m.meddle(func(r *http.Request, a *httptest.ResponseRecorder) {
		if r.URL.Path == "/v1/catalog/services" {
			replace(200, "application/json", hostile["list"])(r, a)
		}
	})
	w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
	s := w.servers("web", 1)
	if s.Len() != 1 || len(s.Out()) != 5 {
		t.Errorf("upstreams %v, out %v", s.Names(), s.Out())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.asked {
		if path != "/v1/catalog/services" && path != "/v1/health/service/web" && path != "/v1/agent/self" {
			t.Errorf("asked for %q", path)
		}
	}
}
