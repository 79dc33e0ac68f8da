package dyups_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
)

func TestExamine(t *testing.T) {
	for _, header := range []bool{true, false} {
		s := server(t, dyupstest.Options{WorkerHeader: header})
		c := dyups.DefaultConfig()
		c.Address = s.API()
		if err := dyups.NewClient(s.API()).Post(t.Context(), "web", []byte("server 10.0.0.1:80;")); err != nil {
			t.Fatal(err)
		}
		g := dyups.New(c, quiet())
		x, err := g.Examine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := len(x.Findings) == 1 && x.Findings[0].Check == "worker-header"
		if found == header || len(x.Findings) > 1 || !slices.Equal(x.Upstreams, []string{"web"}) || x.Ahead.Abs() > 3*time.Second {
			t.Errorf("header %v: %+v", header, x)
		}
		s.Close()
		if x, err = g.Examine(t.Context()); err == nil || x.API.Queue.Bytes != c.QueueBytes || x.API.Cost(3, 100) < 100 {
			t.Errorf("one that is down: %+v, %v", x, err)
		}
	}
}

// TestExamineLua: the API in Lua may not know which upstreams nginx's configuration has.
func TestExamineLua(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Dyups-Worker", "7")
		w.Header().Set("X-Dyups-Static", "?")
		_, _ = io.WriteString(w, "web\n")
	}))
	defer h.Close()
	c := dyups.DefaultConfig()
	c.Address = h.URL
	x, err := dyups.New(c, quiet()).Examine(t.Context())
	if err != nil || len(x.Findings) != 1 || x.Findings[0].Check != "own-upstreams" || !strings.Contains(x.Findings[0].Change, "must not include") {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestHowAPersonAsks has the commands for a port and a socket.
func TestHowAPersonAsks(t *testing.T) {
	c := dyups.DefaultConfig()
	for address, want := range map[string]string{
		"http://127.0.0.1:18882/": "curl -X DELETE http://127.0.0.1:18882/upstream/web",
		"unix:/run/d.sock":        "curl -X DELETE --unix-socket /run/d.sock http://localhost/upstream/web",
	} {
		c.Address, c.Timeout = address, time.Millisecond
		x, _ := dyups.New(c, quiet()).Examine(t.Context())
		if got := x.Remove("web"); got != want || !strings.HasPrefix(x.Ask, "curl -si ") {
			t.Errorf("%s, %s; want %s", got, x.Ask, want)
		}
	}
}
