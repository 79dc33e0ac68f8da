package caddy_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestADeadServerIsPassedOver: the passive checks that are written are ones that Caddy makes. Of one of three that closes
// each connection, as many requests know as max_fails says.
func TestADeadServerIsPassedOver(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		dead, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var tried atomic.Int32
		var accepting sync.WaitGroup
		accepting.Go(func() {
			for {
				conn, err := dead.Accept()
				if err != nil {
					return
				}
				tried.Add(1)
				conn.Close()
			}
		})
		t.Cleanup(func() { dead.Close(); accepting.Wait() })
		u := of(t, "web", append(fleet(t, 2), dead.Addr().String())...)
		for i := range u.Servers {
			u.Servers[i].MaxFails, u.Servers[i].FailTimeout = 2, time.Hour
		}
		must(t, r.gateway(t), set(u))
		failed := int32(0)
		for range 40 {
			if status, _ := send(t, r.site, http.MethodPost, "any", "/web", ""); status != http.StatusOK {
				failed++
			}
		}
		if n := tried.Load(); n != 2 || failed > n {
			t.Errorf("it was tried %d times, and %d of 40 requests failed: max_fails is 2", n, failed)
		}
	})
}

// TestMaxConns: a server that has as many requests as max_conns allows gets no more, and whoever comes when all are full is
// told so.
func TestMaxConns(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		const most, servers = 2, 2
		var done sync.WaitGroup
		arrived, end := make(chan struct{}, 100), make(chan struct{})
		slow := func() string {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				arrived <- struct{}{}
				<-end
				fmt.Fprint(w, "served")
			}))
			t.Cleanup(s.Close)
			return strings.TrimPrefix(s.URL, "http://")
		}
		u := of(t, "web", slow(), slow())
		for i := range u.Servers {
			u.Servers[i].MaxConns = most
		}
		must(t, r.gateway(t), set(u))
		for range most * servers {
			done.Go(func() {
				if status, got := send(t, r.site, http.MethodGet, "any", "/web", ""); status != http.StatusOK || got != "served" {
					t.Errorf("within the limit: %d %s", status, got)
				}
			})
		}
		for range most * servers {
			<-arrived
		}
		if status, got := send(t, r.site, http.MethodGet, "any", "/web", ""); status != http.StatusServiceUnavailable {
			t.Errorf("beyond it: %d %s", status, got)
		}
		close(end)
		done.Wait()
	})
}
