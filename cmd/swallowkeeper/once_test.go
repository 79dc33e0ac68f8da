package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/golden"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/operate"
	"swallowkeeper/status"

	"github.com/google/go-cmp/cmp"
)

// golden holds what was said against a file, without what differs from run to run.
func (r *rig) golden(name, got string) {
	r.t.Helper()
	got = strings.NewReplacer(r.prefix, "", r.dir, "DIR").Replace(got)
	got = regexp.MustCompile(`\b[0-9a-f]{12}\b`).ReplaceAllString(got, "HOLD-ID")
	got = clock.ReplaceAllString(got, "TIME")
	golden.File(r.t, filepath.Join("testdata", name), got)
}

// plain holds that nothing is for a terminal.
func plain(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\r") {
		t.Errorf("a pipe gets colours: %q", text)
	}
}

// decoded is the JSON that was printed, whose exit code is the real one.
func decoded(t *testing.T, g ran) operate.Pass {
	t.Helper()
	var rep operate.Pass
	d := json.NewDecoder(strings.NewReader(g.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&rep); err != nil {
		t.Fatalf("%v in\n%s", err, g.stdout)
	}
	if d.More() {
		t.Error("there is more than one object")
	}
	if rep.ExitCode != g.code {
		t.Errorf("exit_code %d, and it exits with %d", rep.ExitCode, g.code)
	}
	return rep
}

// TestOnceDryRun shows all kinds of changes, and makes none.
func TestOnceDryRun(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"changed": "10.0.0.1:80 10.0.0.2:80", "gone": "10.0.0.3:80", "same": "10.0.0.4:80 10.0.0.5:80"})
	if err := os.Remove(filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.lock")); err != nil {
		t.Fatal(err)
	}
	before := r.state()
	got := r.once("--dry-run")
	got.wants(t, status.ExitInSync, "no changes")
	r.golden("dry-run-in-sync.txt", got.stdout)

	r.gone("gone", "10.0.0.3:80")
	r.gone("changed", "10.0.0.1:80")
	r.up("changed", "[2001:db8::1]:80")
	r.up("new", "10.0.0.6:80")
	r.put("same", instance{addr: "10.0.0.7:80", status: "critical"})
	r.put("same", instance{addr: "10.0.0.8:80", id: "meta", meta: map[string]string{"nginx-weight": "heavy"}})

	got = r.once("--dry-run")
	got.wants(t, status.ExitOutOfSync)
	plain(t, got.stdout+got.stderr)
	r.golden("dry-run.txt", got.stdout)
	asJSON := r.once("--dry-run", "--output", "json")
	if rep := decoded(t, asJSON); !rep.DryRun || len(rep.Gateways) != 1 || rep.Gateways[0].InSync {
		t.Errorf("%+v", rep)
	}
	r.golden("dry-run.json", asJSON.stdout)
	r.same(before)
	if _, err := os.Stat(filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.lock")); err == nil {
		t.Error("a dry run took the lock")
	}

	// Then in earnest.
	asJSON = r.once("--output", "json")
	if rep := decoded(t, asJSON); rep.DryRun || rep.ExitCode != status.ExitInSync {
		t.Errorf("%+v", rep)
	}
	r.golden("once.json", asJSON.stdout)
	r.inSync(want{"changed": "10.0.0.2:80 [2001:db8::1]:80", "new": "10.0.0.6:80", "same": "10.0.0.4:80 10.0.0.5:80"})
	got = r.once()
	got.wants(t, status.ExitInSync)
	plain(t, got.stdout+got.stderr)
	r.golden("once-in-sync.txt", got.stdout)
}

// Without a file there, a dry run makes none.
func TestOnceDryRunLeavesNoTrace(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	r.once("--dry-run").wants(t, status.ExitOutOfSync, "1 added")
	if entries, err := os.ReadDir(filepath.Dir(r.conf)); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if r.nginx[0].Posts()+r.nginx[0].Deletes() != 0 {
		t.Error("it pushed")
	}
}

// TestOnceHeld lets exactly the change through that was approved.
func TestOnceHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	all := want{"a": strings.Join(many(6), " "), "b": "10.0.0.5:80"}
	r.baseline(all)
	r.gone("a", many(5)...)
	r.up("b", "10.0.0.6:80")
	all["b"] = "10.0.0.5:80 10.0.0.6:80"

	got := r.once()
	got.wants(t, status.ExitHeld)
	plain(t, got.stdout)
	r.golden("held.txt", got.stdout)
	r.inSync(all)
	asJSON := r.once("--output", "json")
	rep := decoded(t, asJSON)
	if asJSON.code != status.ExitHeld || rep.Hold == nil || len(rep.Hold.Servers) != 5 {
		t.Fatalf("exit code %d, %+v", asJSON.code, rep)
	}
	r.golden("held.json", asJSON.stdout)

	r.once("--approve", "000000000000").wants(t, status.ExitHeld)
	r.inSync(all)
	r.once("--approve", rep.Hold.ID).wants(t, status.ExitInSync)
	all["a"] = many(6)[5]
	r.inSync(all)
}

// What comes in during a hold must not make the held share small enough to go, also not
// for the next process: 3 of 5 are held, 3 of 6 would go.
func TestOnceHeldAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	all := want{"a": strings.Join(many(4), " "), "b": "10.0.0.5:80"}
	r.baseline(all)
	r.gone("a", many(3)...)
	r.up("b", "10.0.0.6:80")
	all["b"] = "10.0.0.5:80 10.0.0.6:80"
	for range 3 {
		r.once().wants(t, status.ExitHeld)
		r.inSync(all)
	}
	r.up("a", many(2)...)
	// What has not come back with the others may come back yet: that also the next process knows.
	r.once().wants(t, status.ExitHeld, "1 of 6 servers are still missing")
	r.inSync(all)
	all["a"] = strings.Join([]string{many(4)[0], many(4)[1], many(4)[3]}, " ")
	eventually(t, 20*time.Second, "nothing has come back for the recovery", func() bool {
		return r.once("--set", "guard.recovery=1s", "--set", "registry.wait=1s").code == status.ExitInSync
	})
	r.inSync(all)
}

// What failed comes before a gateway, and that before what is held.
func TestOnceExitCodesInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80"})
	r.gone("a", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	r.up("a", "10.0.0.5:80")
	r.nginx[0].FailNext(1000, 500, "add server failed", http.MethodPost)
	r.once().wants(t, status.ExitOutOfSync, "gateway gw1: out of sync", "held: ")
	r.once("--set", "guard.max_removal=1").wants(t, status.ExitOutOfSync, "gateway gw1: out of sync")
	r.once("--set", "registry.address="+loopback.Refused(t), "--timeout", "300ms").wants(t, status.ExitFailed)
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"version", []string{"version"}, 0, "swallowkeeper "},
		{"help", []string{"--help"}, 0, "--sync-once"},
		{"completion", []string{"completion", "bash"}, 0, "bash completion V2 for swallowkeeper"},
		{"completion for zsh", []string{"completion", "zsh"}, 0, "#compdef swallowkeeper"},
		{"unknown flag", []string{"--nonsense"}, 2, "unknown flag: --nonsense"},
		{"unknown command", []string{"nonsense"}, 2, `unknown command "nonsense"`},
		{"flag without its value", []string{"--config"}, 2, "flag needs an argument"},
		{"dry run of the daemon", []string{"--dry-run"}, 2, "--dry-run goes with --sync-once"},
		{"output of the daemon", []string{"--output", "json"}, 2, "--output goes with --sync-once"},
		{"unknown output", []string{"--sync-once", "--output", "xml"}, 2, "allowed is text, json or yaml"},
		{"no time at all", []string{"--sync-once", "--timeout", "0s"}, 2, "allowed is a duration above 0s"},
		{"approved dry run", []string{"--sync-once", "--dry-run", "--approve", "x"}, 2, "give one of them"},
		{"argument to version", []string{"version", "x"}, 2, "unknown command"},
		{"check without time", []string{"check", "--timeout", "-1s"}, 2, "allowed is a duration above 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, nil, tt.args...)
			got.wants(t, tt.code, tt.want)
			if tt.code != 0 && got.stdout != "" {
				t.Errorf("an error went to standard output: %q", got.stdout)
			}
			if tt.code == 0 && got.stderr != "" {
				t.Errorf("standard error has %q", got.stderr)
			}
			plain(t, got.stdout+got.stderr)
		})
	}
}

// Flags win over the environment, and that over the file.
func TestCheckShowsWhatHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[guard]\nmin_services = 1\nmax_removal = 0.1\nhold_for = \"1m\"\n"
	r.configure()
	env := []string{"SWALLOWKEEPER_GUARD_MAX_REMOVAL=0.2", "SWALLOWKEEPER_GUARD_HOLD_FOR=2m", "HOME=/nowhere"}
	r.up("a", "10.0.0.1:80")
	before := r.state()
	got := call(t, env, "check", "--config", r.toml, "--set", "guard.hold_for=3m", "--set", "registry.token=verysecret")
	got.wants(t, status.ExitInSync, "min_services = 1\n", "max_removal = 0.2\n", `hold_for = "3m`,
		"# registry consul: ok: 1 upstreams, 1 servers, 0 left out", "# file "+r.conf+": ok: not written yet",
		"# gateway gw1: ok: 0 upstreams live")
	plain(t, got.stdout)
	if strings.Contains(got.stdout+got.stderr, "verysecret") {
		t.Error("the token is shown")
	}
	r.same(before)

	// What it prints is a configuration that says the same.
	got = call(t, env, "check", "--config", r.toml)
	again := filepath.Join(r.dir, "again.toml")
	if err := os.WriteFile(again, []byte(got.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	second := call(t, nil, "check", "--config", again)
	if diff := cmp.Diff(got.stdout, second.stdout); diff != "" || second.code != 0 {
		t.Errorf("exit code %d (-printed +read again):\n%s", second.code, diff)
	}
}

func TestCheckNamesWhatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.gateways = gatewayTable("gw1", "http://"+loopback.Refused(t)) + gatewayTable("gw2", r.nginx[0].API())
	r.configure()
	r.up("a", "10.0.0.1:80")
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitFailed, "# gateway gw1: failed: ", "connection refused",
		"# gateway gw2: ok", "# registry consul: ok")
	r.gateways = ""
	r.configure()
	dead := loopback.Refused(t)
	call(t, nil, "check", "--config", r.toml, "--timeout", "3s", "--set", "registry.address="+dead).
		wants(t, status.ExitFailed, "# registry consul: failed: no answer within 3s: ", "connection refused", "# gateway gw1: ok")
	if err := os.WriteFile(r.conf, []byte("server {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitFailed, fmt.Sprintf("# file %s: failed: ", r.conf), "not written by swallowkeeper")
}

// TestNobodyWaitsForWhatIsHopeless: a file that is wrong and a token that is refused are told of at once, not when the
// time is up. What the other registries say counts all the same.
func TestNobodyWaitsForWhatIsHopeless(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good, bad := filepath.Join(r.dir, "good.toml"), filepath.Join(r.dir, "bad.toml")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(good, "[[upstream]]\nname = \""+r.prefix+"a\"\nservers = [{ address = \"10.0.0.1:80\" }]\n")
	write(bad, "[[upstream]]\nnane = \"b\"\n")
	file := func(path string) string { return fmt.Sprintf("[[registry]]\ntype = \"file\"\npath = %q\n", path) }
	closed := fmt.Sprintf("[[registry]]\naddress = %q\n", answering(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Permission denied", http.StatusForbidden)
	}))
	for name, tt := range map[string]struct{ registries, wants string }{
		"file": {file(bad), "nane"}, "token": {closed, "Permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			r.registries = tt.registries
			r.configure()
			for _, args := range [][]string{{"check"}, {"doctor"}, {"--sync-once"}, {"--sync-once", "--dry-run"}} {
				got := call(t, nil, append(args, "--config", r.toml, "--timeout", "10m")...)
				if out := got.stdout + got.stderr; got.code == status.ExitInSync || !strings.Contains(out, tt.wants) || strings.Contains(out, "within") {
					t.Errorf("%q: exit code %d\n%s", args, got.code, out)
				}
			}
		})
	}
	r.registries = file(bad) + file(good)
	r.configure()
	r.once("--timeout", "10m").wants(t, status.ExitFailed, "can't be read", "nane")
	r.inSync(want{"a": "10.0.0.1:80"})
}
