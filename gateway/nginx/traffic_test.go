package nginx_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/upstream"
)

// TestTheDoubleCarriesTraffic: it answers as Debian's nginx does, request by request, whatever a gateway writes.
func TestTheDoubleCarriesTraffic(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		t.Skip("no nginx is installed here")
	}
	backend := func(name string) string {
		at, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s %s for %s %s", name, r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-Prefix"))
		}))
		t.Cleanup(func() { stop(context.Background()) })
		return at
	}
	want := set(
		with(t, "web", backend("web"), "/web/*", "/web/health", "/both/* strip=/both"),
		with(t, "api", backend("api"), "/orders/{id:[0-9]+}/items", "/orders/{id}/{rest...} rewrite=/o/{rest}/{id}", "/both/{x}/in methods=GET"),
		with(t, "shop", backend("shop"), "/form methods=POST", "/form/* methods=GET,PUT", "/only/"),
	)
	all := []*rig{double(t), debian(t)}
	for _, r := range all {
		must(t, change(t, r.gateway(t), want))
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		for _, path := range []string{
			"/", "/web", "/web?a=b", "/web/", "/web/a?b=c", "/web/health", "/webapp", "/web/a%20b", "/both", "/both/", "/both/a/b", "/both/a/in",
			"/both/a%2Fb/c", "/orders/12/items", "/orders/12/items/", "/orders/ab/items", "/orders/ab/c/d", "/orders/ab/", "/form", "/form/", "/form/x",
			"/only", "/only/", "/only/x",
		} {
			if got, other := asks(t, all[0].addr, method, path), asks(t, all[1].addr, method, path); got != other {
				t.Errorf("%s %s: the double says %q, nginx %q", method, path, got, other)
			}
		}
	}
}

// asks is what becomes of a request, in few words.
func asks(t *testing.T, addr, method, path string) string {
	t.Helper()
	resp, body := do(t, method, "http://"+addr+path, "shop.example")
	if resp.StatusCode == http.StatusOK {
		return body
	}
	return resp.Status[:3] + " " + resp.Header.Get("Location")
}

// TestTheDoubleDropsWhatIsIdle: a worker that leaves ends the connections between two requests, as nginx does, and a client
// that keeps some does not notice it.
func TestTheDoubleDropsWhatIsIdle(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		at, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "yes") }))
		t.Cleanup(func() { stop(context.Background()) })
		g, want := r.gateway(t), set(with(t, "web", at, "/web/*"))
		must(t, change(t, g, want))
		kept := &http.Transport{}
		t.Cleanup(kept.CloseIdleConnections)
		for i := range 3 {
			for range 3 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr+"/web/", http.NoBody)
				must(t, err)
				resp, err := (&http.Client{Transport: kept}).Do(req)
				must(t, err)
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != "yes" {
					t.Fatalf("%q, %v", body, err)
				}
			}
			must(t, change(t, g, want.With([]upstream.Upstream{with(t, fmt.Sprint("more", i), at)}, nil)))
		}
		until(t, "the old workers end", func() bool {
			live, err := g.Live(t.Context())
			return err == nil && len(live.Workers) == workers
		})
	})
}

// TestNoRequestIsLostByAChange: each change is one reload, and at no moment is what stays not there. A client that opens a
// connection a request has an answer to each.
func TestNoRequestIsLostByAChange(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		at := backend(t, func(*http.Request) (int, string) { return http.StatusOK, "yes" })
		g := r.gateway(t)
		must(t, change(t, g, set(with(t, "web", at, "/web/*"))))
		before := r.count()
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		var asked atomic.Int64
		for range 4 {
			asking.Go(func() {
				for ctx.Err() == nil {
					if got := asks(t, r.addr, http.MethodGet, "/web/a"); got != "yes" {
						t.Errorf("it is answered %q", got)
						return
					}
					asked.Add(1)
				}
			})
		}
		const changes = 6
		for i := range changes {
			asks := asked.Load()
			until(t, "some requests", func() bool { return asked.Load() > asks+4 || t.Failed() })
			more := set(with(t, "web", at, "/web/*"), with(t, fmt.Sprint("other", i%3), at, fmt.Sprintf("/other%d", i)))
			must(t, change(t, g, more))
		}
		cancel()
		asking.Wait()
		if n := r.count() - before; n != changes {
			t.Errorf("%d changes were %d reloads", changes, n)
		}
	})
}
