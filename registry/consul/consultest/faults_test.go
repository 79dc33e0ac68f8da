package consultest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/registry/consul/consultest"
)

// fill registers two services with one passing and one critical instance each.
func fill(t *testing.T, s *consultest.Server) {
	t.Helper()
	for _, service := range []string{"one", "two"} {
		must(t, s.Register(*catalogReg(service, "n1", service+"-1", "passing")))
		must(t, s.Register(*catalogReg(service, "n2", service+"-2", "critical")))
	}
}

// counts is how many services, instances of "one" and checks there are to see.
func counts(t *testing.T, c *suite) [3]int {
	t.Helper()
	services, _, err := c.Catalog().Services(nil)
	must(t, err)
	entries, _, err := c.Health().Service("one", "", false, nil)
	must(t, err)
	checks, _, err := c.Health().State("any", nil)
	must(t, err)
	return [3]int{len(services), len(entries), len(checks)}
}

// blocked starts all blocking reads at their present index, waits until they wait, and returns what they get.
func blocked(t *testing.T, s *consultest.Server, c *suite) func() map[string]error {
	t.Helper()
	type result struct {
		name string
		err  error
	}
	readers := c.readers("one", "n2")
	results := make(chan result, len(readers))
	for _, r := range readers {
		m, err := r.read(&api.QueryOptions{})
		must(t, err)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			o := (&api.QueryOptions{WaitIndex: m.LastIndex, WaitTime: time.Minute}).WithContext(ctx)
			got, err := r.read(o)
			switch {
			case err != nil:
			case got.LastIndex == m.LastIndex:
				err = errUnchanged
			case got.LastIndex < m.LastIndex:
				err = errBack
			}
			results <- result{r.name, err}
		}()
	}
	eventually(t, "all wait", func() bool { return s.Waiting() == len(readers) })
	return func() map[string]error {
		out := make(map[string]error)
		for range readers {
			r := <-results
			out[r.name] = r.err
		}
		return out
	}
}

var (
	errUnchanged = errors.New("answered with the index asked for")
	errBack      = errors.New("answered with an index below the one asked for")
)

func TestAnswerEmpty(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	full := [3]int{3, 2, 5}
	equal(t, "before", counts(t, c), full)
	for on, want := range map[bool][3]int{true: {}, false: full} {
		s.AnswerEmpty(!on)
		results := blocked(t, s, c)
		s.AnswerEmpty(on)
		for name, err := range results() {
			if err != nil {
				t.Errorf("empty %v: %s: %v", on, name, err)
			}
		}
		equal(t, fmt.Sprintf("empty %v", on), counts(t, c), want)
	}
}

func TestNoLeader(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	results := blocked(t, s, c)
	s.NoLeader(true)
	for name, err := range results() {
		// An agent's stream goes on: its answer is the old one.
		streamed := slices.Contains([]string{"health", "tag", "id"}, name)
		if streamed && !errors.Is(err, errUnchanged) || !streamed && !says(err, "500", "No cluster leader") {
			t.Errorf("waiting %s: %v", name, err)
		}
	}
	for _, r := range c.readers("one", "n2") {
		for _, o := range []*api.QueryOptions{{}, {RequireConsistent: true}} {
			if _, err := r.read(o); !says(err, "500", "No cluster leader") {
				t.Errorf("%s: %v", r.name, err)
			}
		}
		m, err := r.read(&api.QueryOptions{AllowStale: true})
		if err != nil || m.KnownLeader {
			t.Errorf("stale %s: %+v, %v", r.name, m, err)
		}
	}
	if _, err := c.Catalog().Register(catalogReg("three", "n3", "3", "passing"), nil); !says(err, "500", "No cluster leader") {
		t.Errorf("registration: %v", err)
	}
	leader, err := c.Status().Leader()
	equal(t, "leader", fmt.Sprint(leader, err), "<nil>")
	s.NoLeader(false)
	equal(t, "after", counts(t, c), [3]int{3, 2, 5})
}

func says(err error, texts ...string) bool {
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			return false
		}
	}
	return true
}

func TestFilterByACL(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	filtered := func(token string) bool {
		_, m, err := c.Catalog().Services(&api.QueryOptions{Token: token})
		must(t, err)
		equal(t, "policy", m.DefaultACLPolicy, "deny")
		return m.ResultsFilteredByACLs
	}
	s.FilterByACL(true, "one")
	equal(t, "without one", counts(t, c), [3]int{2, 0, 3})
	equal(t, "told with a token", filtered("t"), true)
	equal(t, "told without", filtered(""), false)
	s.FilterByACL(true)
	equal(t, "without all", counts(t, c), [3]int{})
	nodes, _, err := c.Catalog().Nodes(nil)
	must(t, err)
	equal(t, "nodes", len(nodes), 0)
	results := blocked(t, s, c)
	s.FilterByACL(false)
	for name, err := range results() { // returned, though nothing has changed but what may be seen
		if !errors.Is(err, errUnchanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "after", counts(t, c), [3]int{3, 2, 5})
}

func TestDeny(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	c := newSuite(t, addr)
	s.DenySelf(true)
	if _, err := c.Agent().Self(); !says(err, "403", `Permission denied: anonymous token lacks permission 'agent:read' on "dev"`) {
		t.Errorf("self: %v", err)
	}
	counts(t, c)
	s.DenyToken(true)
	for _, r := range c.readers("one", "n2") {
		if _, err := r.read(&api.QueryOptions{Token: "t"}); !says(err, "403", "ACL not found") {
			t.Errorf("%s with a token: %v", r.name, err)
		}
		if _, err := r.read(&api.QueryOptions{}); !says(err, "403", "Permission denied: anonymous token lacks permission") {
			t.Errorf("%s without: %v", r.name, err)
		}
	}
	if _, err := c.Catalog().Datacenters(); err != nil {
		t.Errorf("datacenters: %v", err)
	}
	s.DenyToken(false)
	s.DenySelf(false)
	counts(t, c)
}

func TestGarbage(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	c := newSuite(t, addr)
	s.Garbage(true)
	resp, body := c.do(t, "GET", "/v1/catalog/services", "")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html" || !strings.HasPrefix(body, "<!DOCTYPE html>") {
		t.Errorf("got %v %s", resp, body)
	}
	if _, _, err := c.Catalog().Services(nil); !says(err, "invalid character '<'") {
		t.Errorf("the client says %v", err)
	}
}

func TestResetIndex(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	before := make(map[string]uint64)
	for _, r := range c.readers("one", "n2") {
		m, err := r.read(&api.QueryOptions{})
		must(t, err)
		before[r.name] = m.LastIndex
	}
	results := blocked(t, s, c)
	s.ResetIndex()
	for name, err := range results() {
		if !errors.Is(err, errBack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range c.readers("one", "n2") {
		m, err := r.read(&api.QueryOptions{})
		must(t, err)
		if m.LastIndex >= before[r.name] || m.LastIndex < 1 {
			t.Errorf("index of %s goes from %d to %d", r.name, before[r.name], m.LastIndex)
		}
	}
	equal(t, "nothing is lost", counts(t, c), [3]int{3, 2, 5})
	// Whoever still waits for the old index learns of nothing until the wait is over: that is the trap.
	m, err := c.readers("one", "n2")[0].read(&api.QueryOptions{WaitIndex: before["services"], WaitTime: 100 * time.Millisecond})
	must(t, err)
	if m.LastIndex >= before["services"] {
		t.Errorf("index %d is not below %d", m.LastIndex, before["services"])
	}
}

func TestHang(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	answered := make(chan map[string]error, 1)
	results := blocked(t, s, c)
	go func() { answered <- results() }()
	s.Hang(true)
	s.Hang(true)
	for _, id := range []string{"one-1", "one-2"} {
		must(t, s.SetCheck("n"+id[4:], "check-"+id, "warning")) // the change that they wait for
	}
	must(t, s.Deregister(api.CatalogDeregistration{Node: "n2"})) // wakes the list of services too
	eventually(t, "all are woken", func() bool { return s.Waiting() == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := c.Catalog().Services((&api.QueryOptions{}).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it answers: %v", err)
	}
	select {
	case got := <-answered:
		t.Fatalf("those who waited are answered: %v", got)
	default:
	}
	s.Hang(false)
	for name, err := range <-answered {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	counts(t, c)
	s.Hang(true) // and closed while it hangs: start's clean-up must not
}

func TestClose(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	fill(t, s)
	c := newSuite(t, addr)
	results := blocked(t, s, c)
	s.Close()
	s.Close()
	for name, err := range results() {
		if !says(err, "EOF") {
			t.Errorf("%s gets %v", name, err)
		}
	}
	if _, _, err := c.Catalog().Services(nil); err == nil {
		t.Error("a closed registry answers")
	}
}

func TestRequests(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	c := newSuite(t, addr)
	counts(t, c)
	counts(t, c)
	equal(t, "requests", s.Requests(), map[string]int{
		"/v1/agent/self": 1, "/v1/catalog/services": 2, "/v1/health/service/": 2, "/v1/health/state/": 2,
	})
}

func TestListener(t *testing.T) {
	const most = 3
	_, addr := start(t, consultest.Options{MaxConns: most})
	var conns []net.Conn
	for range most {
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		defer conn.Close()
		// An answer on each proves that each has been let in.
		_, err = fmt.Fprintf(conn, "GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
		must(t, err)
		buf := make([]byte, 15)
		_, err = conn.Read(buf)
		must(t, err)
		equal(t, "answer", string(buf), "HTTP/1.1 200 OK")
		conns = append(conns, conn)
	}
	get := func() (int, error) {
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := c.Get("http://" + addr + "/v1/agent/self")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	for range 5 { // refused for good, and never counted
		if status, err := get(); err == nil && status != http.StatusTooManyRequests {
			t.Fatalf("one too many gets %d", status)
		}
	}
	must(t, conns[0].Close())
	eventually(t, "a place is free again", func() bool { status, _ := get(); return status == 200 })
}

func TestNotSupported(t *testing.T) {
	_, addr := start(t, consultest.Options{})
	c := newSuite(t, addr)
	for _, tt := range []struct{ call, body string }{
		{"GET /v1/catalog/services?filter=x", ""},
		{"GET /v1/catalog/services?node-meta=a:b", ""},
		{"GET /v1/catalog/service/x?filter=x", ""},
		{"GET /v1/catalog/nodes?filter=x", ""},
		{"GET /v1/health/service/x?filter=x", ""},
		{"GET /v1/health/service/x?peer=x", ""},
		{"GET /v1/health/state/any?filter=Node==x", ""},
		{"GET /v1/agent/services?filter=x", ""},
		{"PUT /v1/agent/service/register", `{"Name": "x", "Kind": "connect-proxy"}`},
		{"PUT /v1/agent/service/register", `{"Name": "x", "Connect": {"Native": true}}`},
		{"PUT /v1/agent/service/register", `{"Name": "x", "Check": {"GRPC": "127.0.0.1:1", "Interval": "1s"}}`},
		{"PUT /v1/agent/service/register", `{"Name": "x", "Check": {"AliasNode": "n"}}`},
	} {
		method, path, _ := strings.Cut(tt.call, " ")
		resp, body := c.do(t, method, path, tt.body)
		if resp.StatusCode != 400 || !strings.Contains(body, "not supported by the dev registry") {
			t.Errorf("%s %s: %d %s", tt.call, tt.body, resp.StatusCode, body)
		}
	}
}

// TestUnknownService holds the double to what a query for a service that does not exist sees from others'
// changes. A real agent behaves so for /v1/catalog/service/NAME; its health answers come from a stream.
func TestUnknownService(t *testing.T) {
	s, addr := start(t, consultest.Options{})
	c := newSuite(t, addr)
	index := func() uint64 {
		_, m, err := c.Health().Service("nobody", "", false, nil)
		must(t, err)
		return m.LastIndex
	}
	before := index()
	must(t, s.Register(*catalogReg("one", "n1", "1", "passing")))
	if index() <= before {
		t.Error("another service's registration is not seen, though no service has ever gone")
	}
	must(t, s.Deregister(api.CatalogDeregistration{Node: "n1"}))
	before = index()
	must(t, s.Register(*catalogReg("one", "n1", "1", "passing")))
	equal(t, "index after a registration, since a service has gone", index(), before)
	must(t, s.Deregister(api.CatalogDeregistration{Node: "n1"}))
	if index() <= before {
		t.Error("the end of another service is not seen")
	}
}
