package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"swallowkeeper/gateway"
	"swallowkeeper/persist"
	"swallowkeeper/registry"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// control is the real controller, wired as the command does it.
func control(ctx context.Context, w Wiring) error {
	log := logrus.New()
	log.SetOutput(w.Log)
	log.SetLevel(logrus.ErrorLevel)

	from, err := w.Registry.New(registry.Deps{Name: "registry", Log: log, Defaults: upstream.Defaults{All: upstream.DefaultTemplate()}})
	if err != nil {
		return err
	}
	at := persist.DefaultConfig()
	at.Path = w.ConfFile
	file, err := persist.Open(at, log)
	if err != nil {
		return err
	}
	defer file.Close()
	to, err := w.Gateway.New(gateway.Deps{Name: "gateway", Log: log, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer to.Close()

	s := syncer.New(syncer.Parts{
		Sources:  []syncer.Source{{Name: "registry", Registry: from}},
		Targets:  []syncer.Target{{Name: "gateway", Gateway: to, Resync: 10 * time.Second}},
		Guard:    w.Guard,
		Schedule: syncer.DefaultSchedule(), Store: file, Log: log,
	})
	w.Started(s.Status, "http://127.0.0.1:1/")
	return s.Run(ctx)
}

// screen is what the demo writes, safe to read meanwhile.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	s.until(t, text, func() bool { return strings.Contains(s.String(), text) })
}

// until waits for a condition.
func (s *screen) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	limit := time.After(2 * time.Minute)
	for !holds() {
		select {
		case <-look.C:
		case <-limit:
			t.Fatalf("no %q in:\n%s", what, s.String())
		}
	}
}

func options(out io.Writer) Options {
	return Options{Registry: ":0", API: ":0", Proxy: ":0", Page: ":0", StoryOnly: true, Out: out, Control: control}
}

func TestStory(t *testing.T) {
	for name, wants := range map[string][]string{
		"consul": {
			"Consul and nginx are simulated", "web-5 registered", "web-6 for web-1", "web-6 dies", "held: the registries list 0 services",
			"The hold ended by itself", "web-11 takes", "Not one request failed.",
		},
		"docker": {
			"Docker and nginx are simulated", "location ^~ /web/ {", "web-5 started", "web-6 for web-1", "then, was answered", "It is healthy again",
			"dies by itself", "Unknown is not empty", "held: the registries list 0 services", "The hold ended by itself",
			"web-11 takes", "reloads of nginx ", "Not one request failed.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out screen
			if err := Run(t.Context(), tellingOf(name, &out)); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range wants {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
			if strings.Contains(out.String(), "\x1b") {
				t.Errorf("escape sequences in a pipe:\n%q", out.String())
			}
		})
	}
}

// tellingOf is the options for a story, at any free ports.
func tellingOf(name string, out io.Writer) Options {
	o := options(out)
	if o.Story = name; name != "consul" {
		o.API = ""
	}
	return o
}

func TestAFailedRequestFailsTheStory(t *testing.T) {
	var out screen
	o := options(&out)
	var requests atomic.Int64
	o.around = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != healthPath && requests.Add(1) == 50 {
				http.Error(w, "broken on purpose", http.StatusTeapot)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "418") {
		t.Errorf("got %v, want the failed request", err)
	}
	if s := out.String(); strings.Contains(s, "Not one request failed") || !strings.Contains(s, " 1\n") {
		t.Errorf("the bill hides the failed request:\n%s", s)
	}
}

func TestAStepThatDoesNotComeTrue(t *testing.T) {
	idle := func(ctx context.Context, w Wiring) error {
		w.Started(func() syncer.Status { return syncer.Status{StoreErr: errors.New("the disk is full")} }, "")
		<-ctx.Done()
		return nil
	}
	o := options(io.Discard)
	o.Control, o.patience = idle, 50*time.Millisecond
	err := Run(t.Context(), o)
	if !errors.Is(err, errPatience) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("got %v, want what was waited for, and why in vain", err)
	}
}

func TestTheControllerEnds(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		name  string
		start bool
	}{{"at once", false}, {"after its start", true}} {
		t.Run(test.name, func(t *testing.T) {
			o := options(io.Discard)
			o.StoryOnly = false
			o.Control = func(_ context.Context, w Wiring) error {
				if test.start {
					w.Started(func() syncer.Status { return syncer.Status{} }, "")
				}
				return boom
			}
			if err := Run(t.Context(), o); !errors.Is(err, boom) {
				t.Errorf("got %v, want what ended the controller", err)
			}
		})
	}
}

func TestPlay(t *testing.T) {
	var out screen
	o := options(&out)
	o.StoryOnly = false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	out.await(t, "Ctrl-C ends it.")

	// What the invitation says, done.
	commands := out.String()
	after := func(what string) string {
		_, rest, _ := strings.Cut(commands, what)
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	url, body, _ := strings.Cut(after("register it   curl -X PUT "), " -d ")
	put(t, url, strings.Trim(body, "'"))
	out.await(t, "hello is new: ")
	put(t, after("deregister    curl -X PUT "), "")
	out.await(t, "hello is gone")
	conf := after("nginx's file  cat ")
	if _, err := os.Stat(conf); err != nil {
		t.Error(err)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(conf); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind: %v", conf, err)
	}
}

// TestPlayDocker does what the invitation of the story docker says.
func TestPlayDocker(t *testing.T) {
	var out screen
	o := tellingOf("docker", &out)
	o.StoryOnly = false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	out.await(t, "Ctrl-C ends it.")
	after := func(what string) string {
		_, rest, found := strings.Cut(out.String(), "\n  "+what)
		if !found {
			t.Fatalf("no %q in:\n%s", what, out.String())
		}
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	ask(t, http.MethodPost, after("start it      curl -X POST "), "", http.StatusNoContent)
	out.await(t, "hello is new: ")
	at := strings.TrimPrefix(after("call it       curl "), "http://")
	out.until(t, "hello-1 answers", func() bool { return strings.HasPrefix(ask(t, http.MethodGet, at, "", 0), "hello-1 on ") })
	url, body, _ := strings.Cut(after("make another  curl "), " -H 'Content-Type: application/json' -d ")
	ask(t, http.MethodPost, url, strings.Trim(body, "'"), http.StatusCreated)
	ask(t, http.MethodPost, strings.Replace(after("start it      curl -X POST "), "hello-1", "hello-2", 1), "", http.StatusNoContent)
	out.await(t, "hello: in ")
	_, folder, _ := strings.Cut(after("its files     ls "), "cat ")
	folder = strings.TrimSuffix(folder, "/hello.*")
	out.until(t, "two servers in nginx's file", func() bool {
		text, err := os.ReadFile(folder + "/hello.upstream.conf")
		return err == nil && strings.Count(string(text), "server ") == 2
	})
	ask(t, http.MethodPost, after("stop it       curl -X POST "), "", http.StatusNoContent)
	out.await(t, "hello: out ")

	// All of shop is stopped at one blow.
	blow := strings.Trim(after("stop shop     curl -Z -X POST "), "'")
	var stopping sync.WaitGroup
	for n := range shopSlots {
		stopping.Go(func() {
			ask(t, http.MethodPost, strings.Replace(blow, "[1-10]", strconv.Itoa(n+1), 1), "", http.StatusNoContent)
		})
	}
	stopping.Wait()
	out.await(t, "max_removal") // which of its two rules holds it depends on what else has gone meanwhile
	out.await(t, " approve ")

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind: %v", folder, err)
	}
}

// TestTheVisitorCausesAHold does what the invitation says: a rack goes, the guard holds that, and the
// command that lets it through is there, for a controller that is found plainly and for one that is not.
func TestTheVisitorCausesAHold(t *testing.T) {
	for name, plain := range map[string]bool{"found": true, "named": false} {
		t.Run(name, func(t *testing.T) {
			var out screen
			o := options(&out)
			o.StoryOnly = false
			asked := make(chan string, 1)
			o.Plain = func(_ context.Context, conf string) bool { asked <- conf; return plain }
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, o) }()
			out.await(t, "Ctrl-C ends it.")
			conf := <-asked
			for _, want := range []string{"Consul and nginx are simulated", "cat " + conf + "\n"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}

			_, rest, _ := strings.Cut(out.String(), "lose a rack   curl -X PUT ")
			command, _, _ := strings.Cut(rest, "\n")
			url, body, _ := strings.Cut(command, " -d ")
			put(t, url, strings.Trim(body, "'"))
			out.await(t, "held: 10 of 17 servers would go")
			where := " --address http://127.0.0.1:1\n"
			if plain {
				where = "\n"
			}
			approve := regexp.MustCompile(`approve it    SWALLOWKEEPER_STATUS_TOKEN=\S* \S+ approve [0-9a-f]+` + where)
			if !approve.MatchString(out.String()) {
				t.Errorf("no %s in:\n%s", approve, out.String())
			}
			if !strings.Contains(out.String(), " status"+where) {
				t.Errorf("no status%sin:\n%s", where, out.String())
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func put(t *testing.T, url, body string) {
	t.Helper()
	ask(t, http.MethodPut, url, body, http.StatusOK)
}

// ask does what curl would, and returns the answer. Want 0 takes every code.
func ask(t *testing.T, method, url, body string, want int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Header.Set("Content-Type", "application/json")
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || want != 0 && resp.StatusCode != want {
		t.Errorf("%s %s: %s %s, %v", method, url, resp.Status, text, err)
	}
	return string(text)
}

func TestInterrupted(t *testing.T) {
	for _, test := range []struct {
		name      string
		storyOnly bool
		fails     bool
	}{
		{"a story that must come to its end", true, true},
		{"a person who has seen enough", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out screen
			o := options(&out)
			o.StoryOnly, o.Terminal = test.storyOnly, true // so that there is a picture, and time to read
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- Run(ctx, o) }()
			out.await(t, "upstreams, live")
			out.await(t, "search-2")
			cancel()
			if err := <-ended; (err != nil) != test.fails {
				t.Errorf("got %v", err)
			}
			if s := out.String(); strings.LastIndex(s, showCursor) < strings.LastIndex(s, hideCursor) {
				t.Error("the cursor stays hidden")
			}
		})
	}
}

func TestTakenPorts(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, test := range []struct {
		flag string
		set  func(*Options)
	}{
		{"--registry", func(o *Options) { o.Registry = taken }},
		{"--api", func(o *Options) { o.API = taken }},
		{"--proxy", func(o *Options) { o.Proxy = taken }},
	} {
		t.Run(test.flag, func(t *testing.T) {
			o := options(io.Discard)
			test.set(&o)
			err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), test.flag+" ") {
				t.Errorf("got %v, want an error that names %s and %s", err, taken, test.flag)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		name          string
		registry, api string
		wrong         string // the flag; "" where all is well
	}{
		{"free ports", ":0", ":0", ""},
		{"localhost", "localhost:8500", "127.0.0.1:8081", ""},
		{"IPv6", "[::1]:8500", "127.0.0.1:8500", ""},
		{"everybody's", "0.0.0.0:8500", ":0", "--registry"},
		{"a host name", "registry.example:8500", ":0", "--registry"},
		{"no port", "127.0.0.1", ":0", "--registry"},
		{"a port too high", ":0", ":65536", "--api"},
		{"a named port", ":0", ":http", "--api"},
		{"empty", ":0", "", "--api"},
		{"one for two", ":8500", "localhost:8500", "--api"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Options{Registry: test.registry, API: test.api, Proxy: ":0", Page: ":0"}.Validate()
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.HasPrefix(err.Error(), test.wrong+" ")) {
				t.Errorf("got %v, want what is wrong with %q", err, test.wrong)
			}
		})
	}
}

// TestStories: each has its addresses, and what is none is refused by name.
func TestStories(t *testing.T) {
	for _, test := range []struct {
		name  string
		o     Options
		given string
		want  string // what is wrong, "" for nothing
	}{
		{"the usual one", Options{}, "", ""},
		{"by its name", Options{Story: "docker"}, "", ""},
		{"an address of its own", Options{Story: "docker", Registry: "0.0.0.0:2375"}, "registry", "--registry "},
		{"an address that it has not", Options{Story: "docker", API: ":8081"}, "api", `--api ":8081": the story docker has no dyups API`},
		{"none", Options{Story: "dokcer"}, "", `--story "dokcer": there is no such story, there are consul and docker`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Fill(func(flag string) bool { return flag == test.given })
			err := test.o.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err == nil && (test.o.Registry == "" || test.o.Proxy == "" || test.o.Page == "") {
				t.Errorf("the usual addresses are %+v", test.o)
			}
		})
	}
	for _, s := range Stories() {
		if name, about, _ := strings.Cut(s, " "); name == "" || strings.TrimSpace(about) == "" {
			t.Errorf("%q", s)
		}
	}
}
