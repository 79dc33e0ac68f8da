package consul

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

func TestFollowing(t *testing.T) {
	for _, test := range []struct {
		name             string
		index, got, want uint64
		early            bool
	}{
		{"the first", 0, 7, 7, false},
		{"the same", 7, 7, 7, false},
		{"on", 7, 9, 9, false},
		{"backwards", 7, 6, 0, false},
		{"backwards to nothing", 7, 0, 0, false},
		{"nothing at first counts as 1", 0, 0, 1, false},
		{"the same before its time", 7, 7, 0, true},
	} {
		if got := following(test.index, reply{index: test.got, early: test.early}); got != test.want {
			t.Errorf("%s: following(%d, %d) = %d, want %d", test.name, test.index, test.got, got, test.want)
		}
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		for range paceBurst {
			_ = p.wait(t.Context())
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the burst took %s", took)
		}
		for range 20 {
			_ = p.wait(t.Context())
		}
		if took := time.Since(began); took != 20*paceEvery {
			t.Errorf("20 rounds beyond it took %s, want %s", took, 20*paceEvery)
		}
		began = time.Now()
		for range 20 {
			p.news()
			_ = p.wait(t.Context())
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("20 rounds with news took %s", took)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		_ = p.wait(t.Context())
		if took := time.Since(began); took != 0 {
			t.Errorf("the first change after a minute waits %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name, env string
		cfg       Config
		want, url string
	}{
		{"the default", "", Config{}, "consul@127.0.0.1:8500", "http://127.0.0.1:8500"},
		{"of the environment", "http://10.0.0.1:8500", Config{}, "consul@10.0.0.1:8500", "http://10.0.0.1:8500"},
		{"set", "10.9.9.9:1", Config{Address: "consul.local:8500"}, "consul@consul.local:8500", "http://consul.local:8500"},
		{"https", "", Config{Address: "https://c:8501/"}, "consul@c:8501", "https://c:8501"},
		{"a path", "", Config{Address: "http://c:80/consul/"}, "consul@c:80/consul", "http://c:80/consul"},
		{"a socket", "", Config{Address: "unix:///run/consul.sock"}, "consul@/run/consul.sock", "http://localhost"},
		{"IPv6", "", Config{Address: "[::1]:8500"}, "consul@[::1]:8500", "http://[::1]:8500"},
		{
			"parts", "",
			Config{Address: "c:1", Datacenter: "eu 1,x", Namespace: "team", Partition: "p"},
			"consul@c:1/eu_1_x/ns:team/partition:p", "http://c:1",
		},
		{"given", "", Config{Name: "main", Address: "c:1"}, "main", "http://c:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(api.HTTPAddrEnvName, test.env)
			cfg := testConfig(test.cfg.Address)
			cfg.Name, cfg.Datacenter, cfg.Namespace, cfg.Partition = test.cfg.Name, test.cfg.Datacenter, test.cfg.Namespace, test.cfg.Partition
			r, err := New(cfg, silent())
			if err != nil {
				t.Fatal(err)
			}
			if b := r.endpoint.base; r.Name() != test.want || b.Scheme+"://"+b.Address+b.PathPrefix != test.url {
				t.Errorf("%q at %s://%s%s, want %q at %s", r.Name(), b.Scheme, b.Address, b.PathPrefix, test.want, test.url)
			}
			if !registry.ValidName(r.Name()) {
				t.Errorf("name %q is not valid", r.Name())
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, test := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"a password in the address", func(c *Config) { c.Address = "http://me:secret@c:8500" }, "address = "},
		{"another scheme", func(c *Config) { c.Address = "ftp://c" }, "address = "},
		{"a token file that is missing", func(c *Config) { c.TokenFile = missing }, "token_file"},
		{"a CA file that is missing", func(c *Config) { c.Address, c.CAFile = "https://c", missing }, "TLS"},
		{"a wait that is too long", func(c *Config) { c.Wait = time.Hour }, "wait = "},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := testConfig("c:8500")
			test.change(&cfg)
			_, err := New(cfg, silent())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %q", err, test.says)
			}
			var bad *setting.Error
			if strings.HasSuffix(test.says, " = ") && !errors.As(err, &bad) {
				t.Errorf("error is a %T", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the error shows the password")
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		glob, name string
		want       bool
	}{
		{"web", "web", true},
		{"web", "Web", false},
		{"web-*", "web-1", true},
		{"web-*", "web", false},
		{"*", "a/b", true},
		{"v?", "v1", true},
		{"[a-c]x", "bx", true},
		{"*-proxy", "web-sidecar-proxy", true},
	} {
		if got := matches([]string{"never", test.glob}, test.name); got != test.want {
			t.Errorf("%q matches %q: %t, want %t", test.glob, test.name, got, test.want)
		}
	}
}

// TestChoice applies include, exclude and tags to the list.
func TestChoice(t *testing.T) {
	d := startDouble(t, testOptions())
	for service, tag := range map[string]string{"web-1": "live", "web-2": "test", "api": "live", "web-old": "live"} {
		reg := registration("n1", service, service, "10.0.0.1", 80, "passing")
		reg.Service.Tags = []string{tag}
		d.register(t, reg)
	}
	cfg := testConfig(d.addr)
	cfg.Include, cfg.Exclude, cfg.Tags = []string{"web-*"}, []string{"*-old"}, []string{"live"}
	run(t, newTestRegistry(t, cfg, silent())).
		until("web-1", func(s upstreamSet) bool { return strings.Join(s.Names(), " ") == "web-1" })
}

// TestHostNames looks names up, again and again, and keeps the last good answer.
func TestHostNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var state atomic.Int32
		var asked atomic.Int32
		h := &hosts{known: map[string]addresses{}, resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			asked.Add(1)
			switch {
			case host == "bad" || state.Load() == 1:
				return nil, errors.New("server misbehaving")
			case state.Load() == 2:
				return nil, nil
			}
			return []netip.Addr{
				netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"),
			}, nil
		}}
		names := []string{"good", "bad"}
		for range 3 {
			got := h.of(t.Context(), names)
			if len(got["good"].list) != 2 || got["good"].list[0].String() != "10.0.0.1" || got["bad"].err == nil {
				t.Fatalf("got %v", got)
			}
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("%d look-ups, want 2", n)
		}
		for s := range int32(3) {
			state.Store(s)
			h.refresh(t.Context(), names)
			if got := h.of(t.Context(), names)["good"]; len(got.list) != 2 {
				t.Errorf("in state %d: %v", s, got)
			}
		}
		h.refresh(t.Context(), nil)
		if len(h.known) != 0 {
			t.Errorf("still known: %v", h.known)
		}
	})
}

// TestHostNameMoves has servers follow the name that they are registered by.
func TestHostNameMoves(t *testing.T) {
	d := startDouble(t, testOptions())
	d.register(t, registration("n1", "db", "db1", "db.test", 5432, "passing"))
	cfg := testConfig(d.addr)
	cfg.HostNames = true
	r := newTestRegistry(t, cfg, silent())
	var addr atomic.Value
	addr.Store("10.0.0.1")
	r.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "db.test" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr(addr.Load().(string))}, nil
	}
	r.lookups = 10 * time.Millisecond
	w := run(t, r)
	has := func(want string) func(upstreamSet) bool {
		return func(s upstreamSet) bool {
			u, _ := s.Get("db")
			return len(u.Servers) == 1 && u.Servers[0].Addr.String() == want+":5432" && u.Servers[0].Host == "db.test:5432"
		}
	}
	w.until("the first address", has("10.0.0.1"))
	addr.Store("10.0.0.7")
	w.until("the second address", has("10.0.0.7"))
}

// TestHostNameUnknown says which name it is whose addresses can't be told.
func TestHostNameUnknown(t *testing.T) {
	d := startDouble(t, testOptions())
	d.register(t, registration("n1", "db", "db1", "db.test", 5432, "passing"))
	cfg := testConfig(d.addr)
	cfg.HostNames = true
	r := newTestRegistry(t, cfg, silent())
	r.resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("server misbehaving") }
	s := run(t, r).servers("db", 0)
	if out := s.Out(); len(out) != 1 || out[0].Unknown != "db.test:5432" {
		t.Errorf("out is %+v", out)
	}
}

// TestTokenFile sends the token that the file holds now, and the last good one while it
// is gone.
func TestTokenFile(t *testing.T) {
	m := startMeddler(t)
	m.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	var token atomic.Value
	token.Store("")
	var without atomic.Bool
	m.meddle(func(r *http.Request, _ *httptest.ResponseRecorder) {
		sent := r.Header.Get("X-Consul-Token")
		without.Store(without.Load() || sent == "")
		token.Store(sent) // once it is answered, so a query that waited may come after newer ones
	})
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	cfg := testConfig(m.front)
	cfg.TokenFile, cfg.Wait = file, time.Second
	w := run(t, newTestRegistry(t, cfg, silent()))
	w.servers("web", 1)
	eventually(t, "the first token", func() bool { return token.Load() == "one" })
	write("two\n")
	eventually(t, "the second token", func() bool { return token.Load() == "two" })
	write("")
	m.register(t, registration("n1", "web", "w2", "10.0.0.2", 80, "passing"))
	w.servers("web", 2)
	eventually(t, "the last good token", func() bool { return token.Load() == "two" })
	if without.Load() {
		t.Error("a query was sent without a token")
	}
}

// TestOneChangeOneAnswer has a change of one service cost one read of that service.
func TestOneChangeOneAnswer(t *testing.T) {
	m := startMeddler(t)
	for _, service := range []string{"web", "api"} {
		m.register(t, registration("n1", service, service, "10.0.0.1", 80, "passing"))
	}
	w := run(t, newTestRegistry(t, testConfig(m.front), silent()))
	w.until("both", func(s upstreamSet) bool { return s.Servers() == 2 })
	eventually(t, "all wait", func() bool { return m.Waiting() == 3 })
	before := map[string]int{}
	paths := []string{"/v1/catalog/services", "/v1/health/service/web", "/v1/health/service/api"}
	for _, p := range paths {
		before[p] = m.questions(p)
	}
	if err := m.SetCheck("n1", "service:web", "warning"); err != nil {
		t.Fatal(err)
	}
	w.servers("web", 0)
	eventually(t, "all wait again", func() bool { return m.Waiting() == 3 })
	for i, want := range []int{0, 2, 0} { // the answer is confirmed, for it was the last server
		if got := m.questions(paths[i]) - before[paths[i]]; got != want {
			t.Errorf("%s was asked %d times, want %d", paths[i], got, want)
		}
	}
	if n := w.count(); n != 2 {
		t.Errorf("%d sets, want 2", n)
	}
}

// TestPromotion gives a swept service that changes a watch of its own.
func TestPromotion(t *testing.T) {
	d := startDouble(t, testOptions())
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, service := range names {
		d.register(t, registration("n1", service, service, "10.0.0.1", 80, "passing"))
	}
	cfg := testConfig(d.addr)
	cfg.Connections = 4
	r := newTestRegistry(t, cfg, silent())
	r.calm = 0
	ctx, cancel := context.WithCancel(t.Context())
	c, err := r.endpoint.client(r.cfg, 4, r.grace)
	if err != nil {
		t.Fatal(err)
	}
	var last atomic.Pointer[upstreamSet]
	w := newWatch(r, c, room{connections: 4, watches: 4}, func(s upstreamSet) { last.Store(&s) })
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	defer func() { cancel(); <-done; c.close() }()
	eventually(t, "all known", func() bool { s := last.Load(); return s != nil && s.Servers() == len(names) })
	own := func() (found string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.order {
			if s.stop != nil {
				found += s.name
			}
		}
		return found
	}
	for _, service := range []string{"c", "f", "a"} {
		d.register(t, registration("n1", service, service, "10.0.0.2", 80, "passing"))
		eventually(t, service+" has the watch", func() bool { return own() == service })
	}
}
