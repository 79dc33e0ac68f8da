package dyups_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/nginxconf"
)

func TestClient(t *testing.T) {
	s := server(t, dyupstest.Options{MaxConns: true, Workers: 1})
	c := dyups.NewClient(s.API())
	defer c.HTTPClient.CloseIdleConnections()
	ctx := t.Context()

	if names, err := c.List(ctx); err != nil || len(names) != 0 {
		t.Errorf("list of nothing: %v, %v", names, err)
	}
	if d, err := c.Detail(ctx); err != nil || len(d.Upstreams) != 0 {
		t.Errorf("detail of nothing: %v, %v", d, err)
	}
	if _, err := c.Upstream(ctx, "a"); !is(err, (*dyups.Error).NotFound) {
		t.Errorf("upstream that is not there: %v", err)
	}
	if err := c.Delete(ctx, "a"); !is(err, (*dyups.Error).NotFound) {
		t.Errorf("delete what is not there: %v", err)
	}
	u := web("a", 2, 1)
	if err := c.Post(ctx, "a", nginxconf.AppendBody(nil, u)); err != nil {
		t.Error(err)
	}
	if d, err := c.Detail(ctx); err != nil || len(d.Upstreams) != 1 || !d.MaxConns || !d.Upstreams[0].Servers[0].Same(u.Servers[0]) {
		t.Errorf("detail: %+v, %v", d, err)
	}
	if addrs, err := c.Upstream(ctx, "a"); err != nil || len(addrs) != 2 {
		t.Errorf("upstream: %v, %v", addrs, err)
	}
	if names, err := c.List(ctx); err != nil || len(names) != 1 {
		t.Errorf("list: %v, %v", names, err)
	}
	posts := s.Posts()
	for _, blank := range []string{"", " \n"} {
		if err := c.Post(ctx, "a", []byte(blank)); err == nil {
			t.Errorf("%q was posted", blank)
		}
	}
	if s.Posts() != posts {
		t.Error("a blank body was sent")
	}
	err := c.Post(ctx, "b", []byte("server nowhere.example:80;"))
	if want := `post upstream b: the answer was 500 "add server failed"`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if is(err, (*dyups.Error).PartlyApplied) || is(err, (*dyups.Error).NotFound) || is(err, (*dyups.Error).NotDyups) {
		t.Errorf("misjudged: %v", err)
	}
	if err := c.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := c.Post(ctx, "a/b", []byte("server 10.0.0.1:80;")); err == nil {
		t.Error("a name with a slash was taken")
	}
}

func is(err error, what func(*dyups.Error) bool) bool {
	var e *dyups.Error
	return errors.As(err, &e) && what(e)
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		method string
		is     func(*dyups.Error) bool
	}{
		{"lock", 409, "wait and try again\n", "POST", (*dyups.Error).Temporary},
		{"lock, delete", 409, "", "DELETE", (*dyups.Error).Temporary},
		{"partly", 500, "alert: update success but not sync to other process", "POST", (*dyups.Error).PartlyApplied},
		{"partly, delete", 500, "alert: delte success but not sync to other process", "DELETE", (*dyups.Error).PartlyApplied},
		{"gone", 404, "not found uptream", "DELETE", (*dyups.Error).NotFound},
		{"page for a post", 404, "<html>nginx</html>", "POST", (*dyups.Error).NotDyups},
		{"405 for a post", 405, "method not allowed", "POST", (*dyups.Error).NotDyups},
		{"other success", 200, "ok", "POST", (*dyups.Error).NotDyups},
		{"nothing", 200, "", "POST", (*dyups.Error).NotDyups},
		{"no content", 204, "", "POST", (*dyups.Error).NotDyups},
		{"redirect", 302, "", "DELETE", (*dyups.Error).NotDyups},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := answering(t, tt.status, tt.body)
			var err error
			if tt.method == http.MethodPost {
				err = c.Post(t.Context(), "a", []byte("server 10.0.0.1:80;"))
			} else {
				err = c.Delete(t.Context(), "a")
			}
			if !is(err, tt.is) {
				t.Errorf("error %v", err)
			}
			n := 0
			for _, f := range []func(*dyups.Error) bool{
				(*dyups.Error).Temporary, (*dyups.Error).PartlyApplied, (*dyups.Error).NotFound, (*dyups.Error).NotDyups,
			} {
				if is(err, f) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%d judgements of %v", n, err)
			}
		})
	}
}

func answering(t *testing.T, status int, body string) *dyups.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c := dyups.NewClient(s.URL)
	t.Cleanup(c.HTTPClient.CloseIdleConnections)
	return c
}

func TestNotDyups(t *testing.T) {
	page := "<html>" + strings.Repeat("x", 10_000) + "\n\x1b[31m</html>\n"
	tests := []struct {
		name   string
		status int
		body   string
	}{
		{"page", 200, page},
		{"page, not found", 404, page},
		{"not found", 404, ""},
		{"not allowed", 405, ""},
		{"redirect", 301, ""},
		{"json", 200, "{}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := answering(t, tt.status, tt.body)
			_, listErr := c.List(t.Context())
			config := dyups.DefaultConfig()
			config.Address = c.BaseURL
			g := dyups.New(config, quiet())
			defer g.Close()
			_, liveErr := g.Live(t.Context())
			for _, err := range []error{listErr, liveErr} {
				if err == nil || !strings.Contains(err.Error(), "not a dyups interface") {
					t.Errorf("error %v", err)
				} else if len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\n\x1b") {
					t.Errorf("the error is too long or not quoted: %v", err)
				}
			}
		})
	}
}

func TestBadConnections(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	tests := []struct{ name, answer, want string }{
		{"cut body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "unexpected EOF"},
		{"cut header", "HTTP/1.1 200 OK\r\nContent-", "malformed MIME header"},
		{"nothing", "", "EOF"},
		{"garbage", "SSH-2.0-OpenSSH_9.6\r\n", "malformed HTTP"},
		{"endless header", "HTTP/1.1 200 OK\r\nX: " + long + "\r\n\r\n", "header"},
		{"long result", "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + long, "has 1048576 bytes or more, at most 65536 are taken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := raw(t, tt.answer)
			c := dyups.NewClient(address)
			defer c.HTTPClient.CloseIdleConnections()
			if err := c.Delete(t.Context(), "a"); err == nil || tt.name != "endless header" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("client: %v, want %s", err, tt.want)
			}
			config := dyups.DefaultConfig()
			config.Address = address
			config.Timeout = time.Second
			g := dyups.New(config, quiet())
			defer g.Close()
			if _, err := g.Live(t.Context()); err == nil {
				t.Error("gateway: no error")
			}
		})
	}
}

// raw answers each connection's first request with fixed bytes, and ends it.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, answer)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return fmt.Sprintf("http://%s", l.Addr())
}

func TestHostileDetail(t *testing.T) {
	details := map[string]string{
		"escape":     "a\n\x1b[2J\n\n",
		"semicolons": "x{server_6.6.6.6;}\n\n",
		"page":       "<html>\n<head><title>200 OK</title></head>\n\n</html>\n",
	}
	for name, body := range details {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Dyups-Worker", "1; DROP TABLE")
				if r.URL.Path == "/detail" {
					_, _ = io.WriteString(w, body)
					return
				}
				_, _ = io.WriteString(w, "a\n")
			}))
			defer s.Close()
			config := dyups.DefaultConfig()
			config.Address = s.URL
			g := dyups.New(config, quiet())
			defer g.Close()
			_, err := g.Live(t.Context())
			if !is(err, (*dyups.Error).NotDyups) || strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 500 {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestLateAnswer(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	config := dyups.DefaultConfig()
	config.Address = s.URL
	config.Timeout = 100 * time.Millisecond
	g := dyups.New(config, quiet())
	defer g.Close()
	if _, err := g.Live(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("error %v", err)
	}
}

func TestConnectionsOutliveTheTimeout(t *testing.T) {
	o := told()
	s := server(t, o)
	config := dyups.DefaultConfig()
	config.Address = s.API()
	config.Timeout = 100 * time.Millisecond
	g := dyups.New(config, quiet())
	defer g.Close()
	before := set(web("a", 1))
	mustSync(t, g, before)
	<-time.After(2 * config.Timeout)
	gets := s.Gets()
	after := set(web("a", 2))
	mustSyncChange(t, g, before, after)
	if n := s.Gets() - gets; n != 4 {
		t.Errorf("%d gets: the connections were not kept", n)
	}
}
