package status_test

import (
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

const (
	freezes   = "/api/v1/freezes"
	freezeAll = `{"name":"*"}`
)

func frozen(f *statustest.Fake) (n int) {
	f.Read(func(s statustest.State) { n = len(s.Frozen) })
	return n
}

func TestWhoMayChangeThings(t *testing.T) {
	for _, c := range []struct {
		name       string
		token      string // the configured one
		unix       bool
		headers    []string
		code       int
		says       string
		challenged bool
	}{
		{"the socket needs no token", "", true, nil, 200, "", false},
		{"the socket needs none where one is configured", secret, true, nil, 200, "", false},
		{"the address lets nothing through without a configured token", "", false, nil, 403, "unix socket", false},
		{
			"not even with an empty one", "", false,
			[]string{"Authorization", "Bearer "},
			403, "status.token", false,
		},
		{"the address asks for the token", secret, false, nil, 401, "Authorization: Bearer", true},
		{"a wrong token", secret, false, []string{"Authorization", "Bearer " + secret[1:]}, 401, "not the token", true},
		{"a longer token", secret, false, []string{"Authorization", "Bearer " + secret + "x"}, 401, "not the token", true},
		{"another scheme", secret, false, []string{"Authorization", "Basic " + secret}, 401, "Bearer", true},
		{"the token", secret, false, []string{"Authorization", "Bearer " + secret}, 200, "", false},
		{
			"the token from another site", secret, false,
			[]string{"Authorization", "Bearer " + secret, "Sec-Fetch-Site", "cross-site"},
			403, "another site", false,
		},
		{
			"the token from another origin", secret, false,
			[]string{"Authorization", "Bearer " + secret, "Origin", "https://evil.example"},
			403, "another site", false,
		},
		{
			"the token from the page", secret, false,
			[]string{"Authorization", "Bearer " + secret, "Sec-Fetch-Site", "same-origin"},
			200, "", false,
		},
		{"another site over the socket", "", true, []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := statustest.New()
			r := serve(t, d, c.token, status.Parts{})
			client := r.http
			if c.unix {
				client = r.unix
			}
			a := r.ask(t, client, http.MethodPost, freezes, freezeAll, c.headers...)
			if a.StatusCode != c.code || !strings.Contains(a.text, c.says) {
				t.Errorf("it answers %d %s", a.StatusCode, a.text)
			}
			if got := a.Header.Get("WWW-Authenticate") != ""; got != c.challenged {
				t.Errorf("a challenge: %t", got)
			}
			if changed := frozen(d) == 1; changed != (c.code == http.StatusOK) {
				t.Errorf("it was frozen: %t", changed)
			}
			if log := r.log.String(); strings.Contains(log, secret[1:]) {
				t.Errorf("the token is in the log:\n%s", log)
			}
			if c.code == http.StatusOK {
				return
			}
			// What is no change is free to all that may read.
			if a := r.ask(t, client, http.MethodGet, "/api/v1/status", ""); a.StatusCode != http.StatusOK {
				t.Errorf("reading answers %d", a.StatusCode)
			}
		})
	}
}

func TestEveryChangeIsGuarded(t *testing.T) {
	r := serve(t, statustest.New(), secret, status.Parts{})
	guarded := 0
	for _, route := range status.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if method == http.MethodGet {
			continue
		}
		guarded++
		if a := r.ask(t, r.http, method, path, ""); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s answers %d without the token", route, a.StatusCode)
		}
	}
	if guarded < 4 {
		t.Errorf("only %d routes change things", guarded)
	}
}

func TestTheTokenOutOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	listen := func(content string) error {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := status.Listen(status.Config{TokenFile: path}, statustest.Empty(), status.Parts{})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := listen(secret + "\n"); err != nil {
		t.Error(err)
	}
	if err := listen("short\n"); err == nil || strings.Contains(err.Error(), "short\n") {
		t.Errorf("a short token: %v", err)
	}
	if _, err := status.Listen(status.Config{TokenFile: path + "-none"}, nil, status.Parts{}); err == nil {
		t.Error("no file, and no error")
	}
}

func TestBodies(t *testing.T) {
	d := statustest.New()
	r := serve(t, d, "", status.Parts{})
	for _, c := range []struct {
		name, body string
		code       int
		says       string
		headers    []string
	}{
		{"too large", `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "too large", nil},
		{"an unknown field", `{"name":"*","until":"tomorrow"}`, 400, "until", nil},
		{"no JSON", `name=*`, 400, "the body", nil},
		{"two values", freezeAll + freezeAll, 400, "goes on", nil},
		{"nothing", ``, 400, "application/json", nil},
		{"a form, as any page can send it", freezeAll, 400, "application/json", []string{"Content-Type", "text/plain"}},
		{"no name", `{}`, 400, "name", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := r.ask(t, r.unix, http.MethodPost, freezes, c.body, c.headers...)
			if a.StatusCode != c.code || !strings.Contains(a.text, c.says) {
				t.Errorf("it answers %d %.200s", a.StatusCode, a.text)
			}
		})
	}
	if frozen(d) > 0 {
		t.Error("something was frozen")
	}
}

func TestAnotherNameThatPointsHere(t *testing.T) {
	r := serve(t, statustest.New(), "", status.Parts{})
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/"))
	for host, code := range map[string]int{
		"evil.example:" + port: 403, "evil.example": 403, "localhost.evil.example": 403,
		"localhost:" + port: 200, "LOCALHOST": 200, "127.0.0.1:" + port: 200, "[::1]:" + port: 200,
	} {
		if a := r.ask(t, r.http, http.MethodGet, "/api/v1/status", "", "Host", host); a.StatusCode != code {
			t.Errorf("host %q answers %d, want %d", host, a.StatusCode, code)
		}
	}
	if a := r.ask(t, r.unix, http.MethodGet, "/api/v1/status", "", "Host", "swallowkeeper"); a.StatusCode != 200 {
		t.Errorf("any host over the socket answers %d", a.StatusCode)
	}
}

func TestAPanicEndsOneAnswer(t *testing.T) {
	parts := status.Parts{Page: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault") })}
	r := serve(t, statustest.New(), "", parts)
	if a := r.ask(t, r.http, http.MethodGet, "/", ""); a.StatusCode != 500 || strings.Contains(a.text, "a fault") {
		t.Errorf("it answers %d %s", a.StatusCode, a.text)
	}
	if !strings.Contains(r.log.String(), "a fault") {
		t.Error("the log says nothing")
	}
	if a := r.ask(t, r.http, http.MethodGet, "/healthz", ""); a.StatusCode != http.StatusOK {
		t.Errorf("then health answers %d", a.StatusCode)
	}
}

// TestAPanicInTheMiddleCutsTheAnswer: what looks whole and is not would be believed.
func TestAPanicInTheMiddleCutsTheAnswer(t *testing.T) {
	d := failing{statustest.New()}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("<p>", 10000))
		panic("in the middle")
	})
	r := serve(t, d, "", status.Parts{Page: page})
	for _, path := range []string{"/api/v1/upstreams", "/"} {
		for _, encoding := range []string{"identity", "gzip"} {
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(r.URL(), "/")+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Accept-Encoding", encoding)
			a, err := r.http.Do(q)
			if err == nil {
				var text []byte
				text, err = io.ReadAll(a.Body)
				_ = a.Body.Close()
				if err == nil {
					t.Errorf("%s in %s ends as if it were whole: %d %.100q", path, encoding, a.StatusCode, text)
				}
			}
		}
	}
	if !strings.Contains(r.log.String(), "in the middle") {
		t.Errorf("the log: %s", r.log)
	}
}

// failing ends in the middle of its upstreams.
type failing struct{ *statustest.Fake }

func (f failing) Upstreams() iter.Seq[status.Upstream] {
	return func(yield func(status.Upstream) bool) {
		for range 50 { // more than any buffer takes
			for u := range f.Fake.Upstreams() {
				if !yield(u) {
					return
				}
			}
		}
		panic("in the middle")
	}
}

func TestEveryAnswerIsProtected(t *testing.T) {
	parts := status.Parts{Page: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "the page's own")
	})}
	r := serve(t, statustest.New(), "", parts)
	for path, policy := range map[string]string{
		"/api/v1/status": "frame-ancestors 'none'", "/healthz": "frame-ancestors 'none'",
		"/api/v1/none": "frame-ancestors 'none'", "/": "the page's own",
	} {
		h := r.ask(t, r.http, http.MethodGet, path, "").Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("Cache-Control") != "no-store" || !strings.Contains(h.Get("Content-Security-Policy"), policy) {
			t.Errorf("%s has %v", path, h)
		}
	}
}
