package dyups_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"swallowkeeper/dyups"
	"swallowkeeper/internal/budget"
)

// A gateway whose answer to /detail does not end took all memory, and the daemon with it.
func TestADetailWithoutAnEndIsCut(t *testing.T) {
	block := func(i int) string {
		return fmt.Sprintf("u%d\nserver 10.0.0.1:80 weight=1 max_conns=0 max_fails=3 fail_timeout=2 backup=0 down=0\n\n", i)
	}
	for _, test := range []struct {
		name string
		send func(w http.ResponseWriter)
	}{
		{"it says how long it is", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", fmt.Sprint(512<<20))
			_, _ = w.Write([]byte(block(1)))
		}},
		{"it just goes on", func(w http.ResponseWriter) {
			for i, sent := 0, 0; sent < 512<<20; i++ {
				n, err := w.Write([]byte(strings.Repeat("x", 60) + block(i)))
				if sent += n; err != nil {
					return
				}
			}
		}},
		{"one line", func(w http.ResponseWriter) {
			line := []byte(strings.Repeat("x", 1<<20))
			for range 512 {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Dyups-Worker", "1")
				if r.URL.Path == "/detail" {
					test.send(w)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			defer server.Close()
			config := dyups.DefaultConfig()
			config.Address = server.URL
			g := dyups.New(config, quiet(), dyups.WithBudget(budget.New(64<<20)))
			defer g.Close()

			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := g.Live(t.Context())
			runtime.ReadMemStats(&after)
			var large *budget.TooLargeError
			if !errors.As(err, &large) || large.Peer != server.URL || large.Most != 16<<20 {
				t.Errorf("got %v", err)
			}
			// The test's server is in the same process. A buffer that doubles takes twice its bound in all.
			if took := after.TotalAlloc - before.TotalAlloc; strings.HasPrefix(test.name, "it says") && took > 12<<20 { // the race detector takes most of it
				t.Errorf("it took %d kB", took>>10)
			}
			if grew := int64(after.HeapSys) - int64(before.HeapSys); grew > 128<<20 {
				t.Errorf("the heap grew by %d MB", grew>>20)
			}
		})
	}
}
