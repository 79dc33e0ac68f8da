package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/golden"
	"swallowkeeper/internal/logs"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
	"swallowkeeper/upstream"
)

// desk is a daemon that the operator's commands talk to: its API with a fake behind it.
type desk struct {
	t      *testing.T
	fake   *statustest.Fake
	socket string
	url    string
	conf   string // where a conf file would be
	stop   func() // the daemon is gone; at the end of the test it is anyway
}

const deskToken = "the-token-of-the-desk"

func newDesk(t *testing.T, fake *statustest.Fake) *desk {
	t.Helper()
	dir, err := os.MkdirTemp("", "sk") //nolint:usetesting // a socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &desk{t: t, fake: fake, socket: filepath.Join(dir, "s"), conf: filepath.Join(dir, "u.conf")}
	fake.Change(func(s *statustest.State) { s.Status.File = d.conf })
	d.start()
	return d
}

func (d *desk) start() {
	d.t.Helper()
	log := logrus.New()
	log.SetOutput(d.t.Output())
	site, err := status.Listen(status.Config{Address: "127.0.0.1:0", Socket: d.socket, Token: deskToken}, d.fake, status.Parts{Log: log})
	if err != nil {
		d.t.Fatal(err)
	}
	d.url = site.URL()
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- site.Serve(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			d.t.Errorf("Serve: %v", err)
		}
	})
	d.t.Cleanup(d.stop)
}

func (d *desk) call(args ...string) ran {
	d.t.Helper()
	return call(d.t, []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "SWALLOWKEEPER_PERSIST_PATH=" + d.conf}, args...)
}

var clock = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z|[+-]\d\d:\d\d)`)

// wantGolden holds a text against a file, with TIME for every time.
func wantGolden(t *testing.T, name, got string) {
	t.Helper()
	got = clock.ReplaceAllString(got, "TIME")
	golden.File(t, filepath.Join("testdata", "operator", name), got)
}

func TestWhatTheCommandsSay(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"status", []string{"status"}, status.ExitHeld},
		{"upstreams", []string{"upstreams"}, status.ExitInSync},
		{"explain", []string{"explain", "checkout"}, status.ExitInSync},
		{"routes", []string{"routes"}, status.ExitInSync},
		{"match", []string{"routes", "match", "get", "http://shop.example/checkout/42"}, status.ExitInSync},
		{"match-none", []string{"routes", "match", "POST", "/checkout/42"}, status.ExitFailed},
		{"plan", []string{"plan"}, status.ExitOutOfSync}, // a gateway comes before the hold
		{"history", []string{"history"}, status.ExitInSync},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := d.call(test.args...)
			got.wants(t, test.code)
			plain(t, got.stdout)
			wantGolden(t, test.name+".txt", got.stdout)
			got = d.call(append(test.args, "--output", "json")...)
			got.wants(t, test.code)
			if !json.Valid([]byte(got.stdout)) {
				t.Errorf("this is no JSON: %s", got.stdout)
			}
			wantGolden(t, test.name+".json", strings.ReplaceAll(got.stdout, d.conf, "/var/lib/swallowkeeper/u.conf"))
		})
	}
}

// TestABrokenConfigurationKeepsNobodyFromTheDaemon: somebody may be mending it just now.
func TestABrokenConfigurationKeepsNobodyFromTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	broken := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(broken, []byte("[guard]\nmin_servces = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := d.call("status", "--config", broken, "--socket", d.socket)
	got.wants(t, status.ExitHeld, "min_servces", "asking the daemon that the flag names anyway")
	if want := d.call("status", "--socket", d.socket).stdout; clock.ReplaceAllString(got.stdout, "") != clock.ReplaceAllString(want, "") {
		t.Errorf("it says\n%s\nand otherwise\n%s", got.stdout, want)
	}
	d.call("status", "--config", broken).wants(t, status.ExitUsage, "min_servces", "--socket /run/swallowkeeper/swallowkeeper.sock")
	d.call("status", "--config", broken, "--socket", d.socket, "--set", "guard.nonsense=1").wants(t, status.ExitUsage)

	// Over HTTP the token of the environment counts.
	call(t, nil, "freeze", "checkout", "--config", broken, "--address", d.url).wants(t, status.ExitFailed, "SWALLOWKEEPER_STATUS_TOKEN")
	call(t, []string{"SWALLOWKEEPER_STATUS_TOKEN=" + deskToken}, "freeze", "checkout", "--config", broken, "--address", d.url).
		wants(t, status.ExitInSync)
}

func TestHostileTextStaysOnItsLine(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	fake.Change(func(s *statustest.State) {
		s.Upstreams[0].Servers = append(s.Upstreams[0].Servers, status.Server{
			Addr: "a\x1b[2J\n10.0.0.1:80", State: status.Out, Reason: reason.Text("b\r\x1b]0;c\x07\nin sync"),
		})
	})
	plain(t, newDesk(t, fake).call("upstreams").stdout)
}

// TestWhatAnswersMayBeAnybody has each command talk to somebody who writes commands for a
// terminal into every text there is.
func TestWhatAnswersMayBeAnybody(t *testing.T) {
	t.Parallel()
	const evil = `\u001b[2J\u001b]0;x\u0007\r\u009b2J\u202e\u001b[31mred`
	upstream := strings.ReplaceAll(`{"name":"E","options":["E"],"servers":[{"addr":"E","state":"E","reason":"E","options":"E"}],
		"routes":[{"route":"E","upstream":"E","state":"E","reason":"E","methods":["E"],"text":"E a=E","refused":[{"gateway":"E","reason":"E"}]},
			{"route":"E","upstream":"E","state":"out","reason":"E"}],
		"instances":[{"registry":"E","addr":"E","reason":"E"}],"notes":["E"]}`, "E", evil)
	generation := `{"number":3,"reason":"E","summary":"E"}`
	answers := map[string]string{
		"/api/v1/status": `{"reasons":["E"],"generation":` + generation + `,
			"holds":[{"id":"E","reason":"E","servers":[{"upstream":"E","addr":"E"}]}],"freezes":[{"name":"E"}],
			"registries":[{"name":"E","trouble":"E"}],"gateways":[{"name":"E","error":"E","workers":[{"id":"E","error":"E"}]}]}`,
		"/api/v1/upstreams": `{"upstreams":[` + upstream + `]}`, "/api/v1/upstreams/x": upstream,
		"/api/v1/history":  `{"generations":[` + generation + `,{"number":2,"damaged":"E"}]}`,
		"/api/v1/diff":     `{"summary":"E","added":[{"name":"E","lines":["E"]}],"updated":[{"name":"E","in":["E"],"out":["E"]}]}`,
		"/api/v1/plan":     `{"file":{"summary":"E"},"gateways":[{"name":"E","error":"E"},{"name":"E","changes":{"summary":"E"}}]}`,
		"/api/v1/rollback": `{"opinion":"E","generation":` + generation + `}`,
	}
	anybody := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, there := answers[r.URL.Path]
		if !there {
			w.WriteHeader(http.StatusInternalServerError)
			text = `{"error":"E"}`
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(text, "E", evil))
	}))
	defer anybody.Close()
	for _, args := range []string{
		"status", "upstreams", "routes", "routes match GET /x", "explain x", "history", "history 3", "diff 2 3", "plan", "rollback 3 --yes", "approve x", "freeze x", "unfreeze x",
	} {
		got := call(t, nil, append(strings.Fields(args), "--address", anybody.URL)...)
		text := strings.ReplaceAll(got.stdout+got.stderr, "\x1b[31m", "")
		if !strings.Contains(text, "red") || strings.ContainsAny(text, "\x1b\a\r\u009b\u202e") {
			t.Errorf("%s: %q", args, text)
		}
	}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	st := func() status.Status { return d.fake.Status() }
	d.call("approve", "0123").wants(t, status.ExitFailed, "0123")
	d.call("approve", statustest.HoldID).wants(t, status.ExitInSync, "approved")
	if len(st().Holds) != 0 {
		t.Errorf("held is %+v", st().Holds)
	}
	d.call("freeze", "checkout", "--for", "2h").wants(t, status.ExitInSync, "upstream checkout is frozen for 2h0m0s")
	d.call("freeze", "--all").wants(t, status.ExitInSync, "everything is frozen until it is released")
	if n := len(st().Freezes); n < 2 {
		t.Errorf("frozen is %+v", st().Freezes)
	}
	d.call("unfreeze", "checkout").wants(t, status.ExitInSync, "upstream checkout is no longer frozen")
	d.call("unfreeze", "checkout").wants(t, status.ExitFailed)
	before := st().Generation.Number
	d.call("rollback", "10", "--yes", "--output", "json").wants(t, status.ExitInSync, `"generation"`)
	if st().Generation.Number <= before {
		t.Error("nothing was rolled back")
	}
	d.call("rollback", "99", "--yes", "--output", "json").wants(t, status.ExitFailed)
}

func TestCommandsOverTheAddress(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	ask := func(token string, args ...string) ran {
		env := []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_TOKEN=" + token}
		return call(t, env, append(args, "--address", d.url)...)
	}
	ask("", "status").wants(t, status.ExitHeld)
	ask("", "approve", statustest.HoldID).wants(t, status.ExitFailed, "token")
	ask("somebody-elses-token", "approve", statustest.HoldID).wants(t, status.ExitFailed, "token")
	ask("", "history", "12").wants(t, status.ExitInSync, "generation 11 to 12: ")
	ask("", "diff", "11", "12").wants(t, status.ExitInSync, "generation 11 to 12: ")
	ask("", "diff", "1", "12").wants(t, status.ExitFailed, "generation 1 is not kept: swallowkeeper history lists")
	ask(deskToken, "rollback", "11", "--yes").wants(t, status.ExitInSync, "back to generation 11: ", "generation 13 has the upstreams of 11")
	ask(deskToken, "approve", statustest.HoldID).wants(t, status.ExitInSync)
}

// TestATokenIsForChanges has a person who may not read the token's file look at things, and
// sends nobody a token who is only asked.
func TestATokenIsForChanges(t *testing.T) {
	t.Parallel()
	sent := make(chan string, 2)
	d := newDesk(t, statustest.New())
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent <- r.Method + " " + r.Header.Get("Authorization")
		_, _ = io.WriteString(w, "{}")
	}))
	defer asked.Close()
	token := "SWALLOWKEEPER_STATUS_TOKEN=" + deskToken
	call(t, []string{token}, "history", "--address", asked.URL)
	call(t, []string{token}, "freeze", "a", "--address", asked.URL)
	if look, change := <-sent, <-sent; look != "GET " || change != "POST Bearer "+deskToken {
		t.Errorf("sent was %q and %q", look, change)
	}
	none := []string{"SWALLOWKEEPER_STATUS_TOKEN_FILE=/nowhere/token"}
	call(t, none, "history", "--address", d.url).wants(t, status.ExitInSync)
	call(t, none, "freeze", "checkout", "--address", d.url).wants(t, status.ExitFailed, "takes the token", "status.token_file", "/nowhere/token")
}

// TestRollbackFromOneThatIsNotKept has the newest generation missing from the history: the way
// back stays open.
func TestRollbackFromOneThatIsNotKept(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	fake.Change(func(s *statustest.State) { s.History = s.History[1:] })
	d := newDesk(t, fake)
	d.call("rollback", "10", "--yes").wants(t, status.ExitInSync, "back to generation 10", "the guard would hold it: 9 of 82", "generation 13 has the upstreams of 10")
	d.call("rollback", "99", "--yes").wants(t, status.ExitFailed, "swallowkeeper history lists the kept ones")
}

func TestWrongUseOfTheCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	for _, args := range [][]string{
		{"status", "--output", "xml"},
		{"status", "now"},
		{"explain"},
		{"freeze"},
		{"freeze", "checkout", "--all"},
		{"freeze", "checkout", "--for", "-2h"},
		{"freeze", "checkout", "--for", "0s"},
		{"rollback", "x"},
		{"diff", "1"},
		{"diff", "0", "1"},
		{"history", "-1"},
		{"status", "--timeout", "0s"},
		{"status", "--address", "here"},
		{"status", "--address", d.url, "--socket", d.socket},
	} {
		if got := d.call(args...); got.code != status.ExitUsage || got.stderr == "" {
			t.Errorf("%q: exit code %d, %s", args, got.code, got.stderr)
		}
	}
	d.call("explain", "checkoutt").wants(t, status.ExitFailed, "did you mean", "checkout")
	d.call("explain", "checkout", "192.0.2.1:9").wants(t, status.ExitFailed, "192.0.2.1:9")
}

// TestWithoutADaemon holds what can be done from the files and the gateways.
func TestWithoutADaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	r.up("b", "10.0.0.3:80")
	r.once().wants(t, status.ExitInSync)
	r.command("status").wants(t, status.ExitFailed, "the daemon does not answer", "gateway gw1: in sync (generation 2")
	r.command("upstreams").wants(t, status.ExitInSync, r.prefix+"a: 2 in", "the daemon does not answer")
	r.command("explain", r.prefix+"a", "10.0.0.2:80").wants(t, status.ExitInSync, "10.0.0.2:80: check ")
	r.command("explain", r.prefix+"b").wants(t, status.ExitInSync, "10.0.0.3:80: check ", "asked now (index", "): as above")
	r.command("explain", r.prefix+"c").wants(t, status.ExitFailed, "is not in the conf file: registry consul has nothing")
	r.command("history").wants(t, status.ExitInSync, "added "+r.prefix+"b")
	r.command("history", "2").wants(t, status.ExitInSync, "generation 1 to 2: 1 added")
	r.command("history", "1").wants(t, status.ExitFailed, "the oldest")
	r.command("diff", "2", "1").wants(t, status.ExitInSync, "1 removed")
	r.command("diff", "2", "7").wants(t, status.ExitFailed, "not in the history", "swallowkeeper history")
	r.command("plan").wants(t, status.ExitInSync, "no changes", "a dry run")
	var plan map[string]any // of the same shape as with the daemon
	if err := json.Unmarshal([]byte(r.command("plan", "--output", "json").stdout), &plan); err != nil ||
		!slices.Equal(slices.Sorted(maps.Keys(plan)), []string{"file", "gateways", "hold"}) {
		t.Errorf("the plan has %v: %v", slices.Sorted(maps.Keys(plan)), err)
	}
	r.command("approve", "0123").wants(t, status.ExitFailed, "--sync-once --approve 0123")
	r.command("watch").wants(t, status.ExitFailed, "the daemon does not answer")

	r.command("freeze", r.prefix+"b", "--for", "1h").wants(t, status.ExitInSync, "by hand", "frozen for 1h")
	r.command("status").wants(t, status.ExitFailed, "frozen")
	r.up("b", "10.0.0.4:80")
	r.once().wants(t, status.ExitInSync)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80"})
	r.command("unfreeze", r.prefix+"b").wants(t, status.ExitInSync)
	r.once().wants(t, status.ExitInSync)
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80 10.0.0.4:80"})

	r.command("rollback", "1", "--yes").wants(t, status.ExitInSync, "generation 4 has the upstreams of 1", "- upstream "+r.prefix+"b")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	r.command("unfreeze", "--all").wants(t, status.ExitInSync)
	r.nginx[0].Hang(true)
	r.command("status").wants(t, status.ExitFailed, "out of sync")
	r.nginx[0].Hang(false)
}

// TestOnlyTheRightDaemonIsSteered: where a flag names a daemon that is not there, the files here
// stay as they are, and a daemon that works with other files is not taken for ours.
func TestOnlyTheRightDaemonIsSteered(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80"})
	before := r.read()
	for _, where := range [][]string{{"--address", "http://" + loopback.Refused(t)}, {"--socket", "/nowhere/s"}} {
		for _, args := range [][]string{
			{"freeze", "--all"},
			{"unfreeze", "--all"},
			{"rollback", "1", "--yes"},
			{"status"},
			{"history"},
			{"diff", "1", "1"},
			{"upstreams"},
			{"explain", r.prefix + "a"},
			{"plan"},
		} {
			got := r.command(append(args, where...)...)
			got.wants(t, status.ExitFailed, "the daemon does not answer")
			if strings.Contains(got.stdout, "10.0.0.1") {
				t.Errorf("%v speaks of the files here", args)
			}
		}
	}
	if diff := cmp.Diff(before, r.read(), cmp.Comparer(upstream.Set.Identical), cmp.AllowUnexported(reason.Reason{})); diff != "" {
		t.Errorf("the conf file has changed: %s", diff)
	}

	other := newDesk(t, statustest.New())
	env := []string{"SWALLOWKEEPER_STATUS_SOCKET=" + other.socket, "SWALLOWKEEPER_PERSIST_PATH=/var/lib/another.conf"}
	for _, args := range [][]string{{"freeze", "checkout"}, {"unfreeze", "coupon"}, {"approve", statustest.HoldID}, {"rollback", "10", "--yes"}} {
		call(t, env, args...).wants(t, status.ExitUsage, other.conf, "/var/lib/another.conf", "status.socket")
	}
	other.fake.Read(func(s statustest.State) {
		if len(s.Approved)+len(s.Frozen)+len(s.Unfrozen)+len(s.Rolled) > 0 {
			t.Error("another daemon was steered")
		}
	})
	call(t, env, "freeze", "checkout", "--socket", other.socket).wants(t, status.ExitInSync) // by name it is meant
}

// TestWhatIsNotThereIsSaid has no conf file, a socket that this account may not use, and a
// daemon that hangs.
func TestWhatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.command("status").wants(t, status.ExitFailed, "out of sync", "nothing was written yet")

	hanging, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer hanging.Close()
	r.command("freeze", "--all", "--socket", hanging.Addr().String(), "--timeout", "100ms").
		wants(t, status.ExitFailed, "hangs or is slow", "it may still do it")
}

// TestAnUnknownStatusIsNotAGoodOne: where the daemon can't tell how it is, nothing is steered,
// and a plan does not count as all there is.
func TestAnUnknownStatusIsNotAGoodOne(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	broken := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			t.Errorf("%s %s arrives", r.Method, r.URL)
		case r.URL.Path == "/api/v1/status":
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	broken.Listener = l
	broken.Start()
	defer broken.Close()
	env := []string{"SWALLOWKEEPER_STATUS_SOCKET=" + socket}
	for _, args := range [][]string{{"plan"}, {"freeze", "--all"}, {"unfreeze", "--all"}, {"approve", "0123"}, {"rollback", "1", "--yes"}} {
		call(t, env, args...).wants(t, status.ExitFailed, "500")
	}
}

// TestPlanNamesWhatHinders: where a registry can't be read, "no changes" is not the whole truth.
func TestPlanNamesWhatHinders(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	fake.Change(func(s *statustest.State) {
		s.Status.Registries[0].Trouble = "No cluster leader"
		s.Plan = status.Plan{}
	})
	d := newDesk(t, fake)
	d.call("plan").wants(t, status.ExitFailed, "can't be read, its servers stay: No cluster leader")
	d.call("plan", "--output", "json").wants(t, status.ExitFailed)
}

// TestADaemonThatDoesNotAnswer has one at work that is not at its socket, as during a reload:
// nothing is done by hand beside it, and nobody is told to stop it.
func TestADaemonThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	cfg := persist.DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "u.conf")
	file, err := persist.Open(cfg, logs.Silent())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := call(t, []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_PERSIST_PATH=" + cfg.Path}, "freeze", "--all")
	got.wants(t, status.ExitFailed, fmt.Sprintf("process %d is running", os.Getpid()), "try again")
	if strings.Contains(got.stderr, "stop") {
		t.Errorf("it says %s", got.stderr)
	}
}
