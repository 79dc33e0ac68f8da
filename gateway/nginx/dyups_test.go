package nginx_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/lua"
	"swallowkeeper/gateway"
	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
	"swallowkeeper/upstream"
)

// pair is an nginx with the dyups API and its two gateways: one for the servers, one for the routes.
type pair struct {
	conf    string // the conf file
	addr    string
	servers *dyups.Gateway
	routes  *nginx.Gateway
}

// onTengine is a pair on a Tengine, which includes the conf file.
func onTengine(t *testing.T) *pair {
	t.Helper()
	tengine := os.Getenv("TENGINE_BIN")
	if tengine == "" {
		t.Skip("TENGINE_BIN does not name a Tengine binary")
	}
	home := t.TempDir()
	return newPair(t, home, tengine, "", func(api string) string {
		return "include " + home + "/upstreams.conf*;\nserver { listen " + api + "; location / { dyups_interface; add_header X-Dyups-Worker $pid always; } }\n"
	})
}

// withLua is a pair on Debian's nginx with the library, which reads the conf file itself.
func withLua(t *testing.T) *pair {
	t.Helper()
	if !nginxtest.Exists(nginxtest.Nginx) || !nginxtest.Exists(nginxtest.Lua) {
		suite.Absent(t, "there is no nginx with its Lua module: scripts/setup-tests.sh installs both on Debian")
	}
	home := t.TempDir()
	load := "load_module " + filepath.Dir(nginxtest.Lua) + "/ndk_http_module.so; load_module " + nginxtest.Lua + ";"
	return newPair(t, home, nginxtest.Nginx, load, func(api string) string {
		c := lua.DefaultConfig()
		c.Dir, c.Listen, c.Upstreams = home+"/dyups", api, home+"/upstreams.conf"
		_, err := lua.Install(c, false)
		must(t, err)
		return "include " + home + "/dyups/dyups.conf;\n"
	})
}

func newPair(t *testing.T, home, program, main string, http func(api string) string) *pair {
	t.Helper()
	api := nginxtest.Free(t)
	p := &pair{conf: home + "/upstreams.conf", addr: nginxtest.Free(t)}
	dir := home + "/swallowkeeper"
	nginxtest.StartMaster(t, program, home, "user root; worker_processes 2;"+main, http(api)+"include "+dir+"/current/*.upstream.conf;\n"+
		"server { listen "+p.addr+"; keepalive_requests 100000; include "+dir+"/current/*.location.conf; }\n", p.addr)
	d := dyups.DefaultConfig()
	d.Address = "http://" + api
	p.servers = dyups.New(d, quiet())
	c := nginx.DefaultConfig()
	c.Dir, c.Servers, c.PID, c.MinInterval = dir, "dyups", home+"/pid", 0
	c.Check = []string{program, "-t", "-p", home, "-c", home + "/nginx.conf", "-e", os.DevNull}
	c.Verify = "http://" + p.addr + "/.swallowkeeper/generation"
	p.routes = nginx.New(c, quiet())
	t.Cleanup(func() { _, _ = p.servers.Close(), p.routes.Close() })
	return p
}

// sync brings both to a set as the syncer does: the file first.
func (p *pair) sync(t *testing.T, want upstream.Set) {
	t.Helper()
	var text []byte
	for u := range want.All() {
		text = nginxconf.AppendBlock(text, u)
	}
	write(t, p.conf+"~", string(text))
	must(t, os.Rename(p.conf+"~", p.conf))
	for _, g := range []gateway.Gateway{p.servers, p.routes} {
		for again := 0; ; again++ { // workers that start meanwhile are no trouble
			live, err := g.Live(t.Context())
			must(t, err)
			admitted, _ := gateway.Admit(want, g.Abilities())
			if _, err = g.Apply(t.Context(), upstream.Diff(live.Set, admitted)); err == nil {
				break
			} else if again == 5 {
				t.Fatal(err)
			}
		}
	}
}

// workers are those that the routes' gateway sees.
func (p *pair) workers(t *testing.T) string {
	t.Helper()
	live, err := p.routes.Live(t.Context())
	must(t, err)
	var ids []string
	for _, w := range live.Workers {
		ids = append(ids, w.ID)
	}
	return strings.Join(ids, " ")
}

// busy has clients ask one request after the other, each over its own connection that is kept, until it is stopped.
func (p *pair) busy(t *testing.T, method string) (stop func()) {
	t.Helper()
	const clients = 16
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	var requests atomic.Int64
	errs := make(chan error, clients)
	for i := range clients {
		asking.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
			for ctx.Err() == nil {
				path := []string{"/web/x", "/in/x"}[i%2]
				req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), method, "http://"+p.addr+path, http.NoBody)
				if err != nil {
					errs <- err
					return
				}
				resp, err := client.Do(req)
				if err != nil {
					errs <- err
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s: %s", path, resp.Status)
				}
				if err != nil {
					errs <- err
					return
				}
				requests.Add(1)
			}
		})
	}
	return func() {
		cancel()
		asking.Wait()
		close(errs)
		for err := range errs {
			t.Errorf("a client had %v", err)
		}
		t.Logf("%d requests by %s", requests.Load(), method)
	}
}

// TestServersWithoutAReload: with servers = "dyups" a change of servers loses no request and no connection: nobody who sends what
// can't be sent twice notices. Where routes change nginx is reloaded, and whoever asks again on a connection that was closed
// before an answer began, as HTTP has it, has each answer.
func TestServersWithoutAReload(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *pair{"Tengine": onTengine, "nginx with Lua": withLua} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			a := backend(t, func(*http.Request) (int, string) { return http.StatusOK, "a" })
			b := backend(t, func(*http.Request) (int, string) { return http.StatusOK, "b" })
			asked := atomic.Int64{}
			auth := backend(t, func(*http.Request) (int, string) { asked.Add(1); return http.StatusOK, "auth" })
			has := func(more string, servers ...string) upstream.Set {
				web := with(t, "web", servers[0], "/web/*", "/in/* auth=auth/verify", "/more"+more)
				for _, s := range servers[1:] {
					web.Servers = append(web.Servers, with(t, "web", s).Servers...)
				}
				return set(web, with(t, "auth", auth))
			}
			is := func(path, want string) {
				t.Helper()
				if status, body := get(t, "http://"+p.addr+path); status != http.StatusOK || !strings.Contains(want, body) {
					t.Errorf("%s is %d %q, want %q", path, status, body, want)
				}
			}
			p.sync(t, has("", a, b))

			before := p.workers(t)
			stop := p.busy(t, http.MethodPost) // which no client sends twice
			for i := range 50 {
				switch i % 3 {
				case 0:
					p.sync(t, has("", a))
					is("/web/", "a")
				case 1:
					p.sync(t, has("", b))
					is("/in/", "b")
				default:
					p.sync(t, has("", a, b))
					is("/web/", "ab")
				}
			}
			stop()
			if after := p.workers(t); after != before {
				t.Errorf("for servers alone nginx was reloaded: its workers were %s and are %s", before, after)
			}

			stop = p.busy(t, http.MethodGet)
			for i := range 5 {
				p.sync(t, has(fmt.Sprint(i), []string{a, b}[i%2]))
				is(fmt.Sprintf("/more%d", i), []string{"a", "b"}[i%2])
			}
			stop()
			if asked.Load() == 0 {
				t.Error("nobody was asked whether requests may pass")
			}
		})
	}
}
