package caddy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/gateway"
	"swallowkeeper/gateway/caddy"
	"swallowkeeper/gateway/caddy/caddytest"
	"swallowkeeper/gateway/gatewaytest"
	"swallowkeeper/internal/caddytestserver"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/upstream"
)

// rig is a Caddy, real or not, with trouble between it and a gateway.
type rig struct {
	*faults
	site   string // where its server listens
	double *caddytest.Server
	actual *caddytestserver.Server
}

// base is what Caddy is started with. The operator's route answers what ours do not take.
func base(site string) string {
	return fmt.Sprintf(`{"admin":{"listen":"ADMIN"},"apps":{"http":{"servers":{"srv0":{"listen":[%q],"automatic_https":{"disable":true},"routes":[
		{"@id":"swallowkeeper"},{"handle":[{"handler":"static_response","body":"the operator's","status_code":404}]}]}}}}}`, site)
}

func double(t testing.TB, old bool) *rig {
	t.Helper()
	d, err := caddytest.New(caddytest.Options{Old: old, Config: base("127.0.0.1:80")})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(d)
	t.Cleanup(s.Close)
	return &rig{double: d, faults: newFaults(t, s.Listener.Addr().String())}
}

func actual(t testing.TB, binary string) *rig {
	t.Helper()
	return actualWith(t, binary, base)
}

func actualWith(t testing.TB, binary string, config func(site string) string) *rig {
	t.Helper()
	site := loopback.Free(t, 1)[0]
	s := caddytestserver.Start(t, binary, config(site))
	return &rig{actual: s, site: site, faults: newFaults(t, s.Admin)}
}

func (r *rig) config() caddy.Config {
	c := caddy.DefaultConfig()
	c.Address, c.Timeout = "http://"+r.listener.Addr().String(), 2*time.Second
	return c
}

// gateway makes one, with another configuration where that is wanted.
func (r *rig) gateway(t testing.TB, change ...func(*caddy.Config)) *caddy.Gateway {
	t.Helper()
	c := r.config()
	for _, f := range change {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	g := caddy.New(c, quiet())
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func (r *rig) harness() gatewaytest.Harness {
	return gatewaytest.Harness{
		Patience: 30 * time.Second,
		New:      func(t *testing.T, _ upstream.Set) gateway.Gateway { return r.gateway(t) },
		Shown:    func(t *testing.T) []upstream.Set { return []upstream.Set{r.shown(t)} },
		Sent:     r.names,
		Lie:      func(upstream string) { r.tell(func() { r.lie = upstream }) },
		Refuse:   func(upstream string) { r.tell(func() { r.refuse = upstream }) },
		OnChange: func(do func()) { r.tell(func() { r.onChange = do }) },
		Hang:     r.hold,
		Stall:    func(string) func() { return r.hold() },
		Kill:     func(t *testing.T, _ string) { r.restart(t) },
		Reload:   func(t *testing.T, _ upstream.Set) { r.reload(t) },
	}
}

// restart is a crash, and another start with what stands in the file.
func (r *rig) restart(t testing.TB) {
	t.Helper()
	if r.double != nil {
		if err := r.double.Restart(); err != nil {
			t.Fatal(err)
		}
		return
	}
	r.actual.Kill()
	r.actual.Run()
}

// reload is `caddy reload` by a person.
func (r *rig) reload(t testing.TB) {
	t.Helper()
	if r.actual != nil {
		r.actual.Reload()
		return
	}
	r.restart(t)
}

// ask asks Caddy itself, past all trouble.
func ask(t testing.TB, admin, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// reverse is a reverse_proxy as it stands in Caddy's configuration. This reads what the gateway writes, and shares no code
// with it.
type reverse struct {
	Handler   string
	Upstreams []struct {
		Dial        string
		MaxRequests int `json:"max_requests"`
	}
	LoadBalancing struct {
		SelectionPolicy struct {
			Policy  string
			Weights []int
		} `json:"selection_policy"`
	} `json:"load_balancing"`
	HealthChecks struct {
		Passive struct {
			MaxFails     int    `json:"max_fails"`
			FailDuration string `json:"fail_duration"`
		}
	} `json:"health_checks"`
	Note struct{ Block []string } `json:"swallowkeeper"`
}

// shown is what Caddy has of each upstream: the servers that it sends requests to, and of what it has no word for the note.
func (r *rig) shown(t testing.TB) upstream.Set {
	t.Helper()
	_, text := ask(t, r.to, http.MethodGet, "/id/swallowkeeper", "")
	var place struct {
		Handle []struct{ Routes []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(text), &place); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var list []upstream.Upstream
	if len(place.Handle) == 0 {
		return upstream.Set{}
	}
	for _, raw := range place.Handle[0].Routes {
		var entry struct {
			ID     string `json:"@id"`
			Handle []reverse
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			continue
		}
		name, is := strings.CutPrefix(entry.ID, "swallowkeeper.upstream.")
		if !is {
			continue
		}
		list = append(list, upstream.Upstream{Name: name, Servers: servers(t, entry.Handle[0], entry.Handle[1].Note.Block)})
	}
	return upstream.NewSet(list)
}

func servers(t testing.TB, h reverse, note []string) []upstream.Server {
	t.Helper()
	var all []upstream.Server
	used := map[string]int{}
	for i, u := range h.Upstreams {
		used[u.Dial]++
		if w := h.LoadBalancing.SelectionPolicy.Weights; w != nil {
			used[u.Dial] = w[i]
		}
	}
	for _, line := range note {
		fields := strings.Fields(strings.TrimSuffix(line, ";"))
		if len(fields) < 2 || fields[0] != "server" {
			continue
		}
		s := upstream.Server{Addr: netip.MustParseAddrPort(fields[1]), Weight: 1, MaxFails: 1, FailTimeout: 10 * time.Second}
		for _, option := range fields[2:] {
			key, value, _ := strings.Cut(option, "=")
			n, _ := strconv.Atoi(value)
			switch key {
			case "weight":
				s.Weight = n
			case "max_fails":
				s.MaxFails = n
			case "max_conns":
				s.MaxConns = n
			case "fail_timeout":
				s.FailTimeout, _ = time.ParseDuration(value)
			case "backup":
				s.Backup = true
			case "down":
				s.Down = true
			}
		}
		if n := used[fields[1]]; (n > 0) == s.Down || n > s.Weight {
			t.Errorf("%s is listed %d times, and noted as %s", fields[1], n, line)
		}
		delete(used, fields[1])
		all = append(all, s)
	}
	if len(used) > 0 {
		t.Errorf("not noted: %v", used)
	}
	return all
}

// faults stands between a gateway and Caddy.
type faults struct {
	to       string
	listener net.Listener

	mu          sync.Mutex
	lie, refuse string
	onChange    func()
	held        chan struct{}
	sent        []string
	patches     int
	gets        int
}

func newFaults(t testing.TB, to string) *faults {
	t.Helper()
	f := &faults{to: to}
	s := httptest.NewServer(f)
	f.listener = s.Listener
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return f
}

func (f *faults) tell(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *faults) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// count is how many changes were sent.
func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.patches
}

func (f *faults) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = nil
		close(held)
	}
}

func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	change := r.Method != http.MethodGet
	f.mu.Lock()
	onChange := f.onChange
	if change {
		f.onChange = nil
		f.patches++
	} else {
		onChange = nil
		f.gets++
	}
	f.mu.Unlock()
	if onChange != nil {
		onChange()
	}
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	if !change {
		f.pass(w, r, body)
		return
	}
	changed, removed := f.differences(r, body)
	all := slices.Concat(changed, removed)
	if !f.trouble(w, all) && f.pass(w, r, body) == http.StatusOK {
		if len(all) == 0 {
			all = []string{"(the same again)"}
		}
		f.tell(func() { f.sent = append(f.sent, all...) })
	}
}

// trouble is an answer that is not Caddy's.
func (f *faults) trouble(w http.ResponseWriter, all []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case slices.Contains(all, f.refuse):
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"error":"loading new config: loading http app module: provision http: that one is refused"}`)
		return true
	case slices.Contains(all, f.lie):
		return true
	}
	return false
}

// differences are the upstreams that a change changes, and those that it removes.
func (f *faults) differences(r *http.Request, body []byte) (changed, removed []string) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+f.to+"/id/swallowkeeper", nil)
	if err != nil {
		return nil, nil
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil
	}
	defer resp.Body.Close()
	now, _ := io.ReadAll(resp.Body)
	has, will := parts(now), parts(body)
	if strings.Contains(r.URL.Path, "swallowkeeper.upstream.") {
		for name, text := range has {
			if _, is := will[name]; !is {
				will[name] = text
			}
		}
	}
	for name, text := range will {
		if has[name] != text {
			changed = append(changed, name)
		}
	}
	for name := range has {
		if _, is := will[name]; !is {
			removed = append(removed, name)
		}
	}
	slices.Sort(changed)
	return changed, removed
}

// parts are the objects of upstreams within JSON.
func parts(text []byte) map[string]string {
	var v any
	found := map[string]string{}
	_ = json.Unmarshal(text, &v)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			id, _ := v["@id"].(string)
			if name, is := strings.CutPrefix(id, "swallowkeeper.upstream."); is {
				text, _ := json.Marshal(v)
				found[name] = string(text)
				return
			}
			for _, inside := range v {
				walk(inside)
			}
		case []any:
			for _, inside := range v {
				walk(inside)
			}
		}
	}
	walk(v)
	return found
}

// pass asks Caddy, and answers what it says.
func (f *faults) pass(w http.ResponseWriter, r *http.Request, body []byte) (status int) {
	u := url.URL{Scheme: "http", Host: f.to, Path: r.URL.Path}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0
	}
	for _, key := range []string{"Content-Type", "If-Match"} {
		if v := r.Header.Get(key); v != "" {
			req.Header.Set(key, v)
		}
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	if tag := resp.Header.Get("Etag"); tag != "" {
		w.Header().Set("Etag", tag)
	} else if r.Method == http.MethodGet {
		w.Header().Set("Trailer", "Etag")
	}
	w.WriteHeader(resp.StatusCode)
	_ = http.NewResponseController(w).Flush()
	_, _ = io.Copy(w, resp.Body)
	if tag := resp.Trailer.Get("Etag"); tag != "" {
		w.Header().Set("Etag", tag)
	}
	return resp.StatusCode
}
