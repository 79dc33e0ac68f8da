package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"swallowkeeper/cli"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/internal/golden"
	"swallowkeeper/persist"
	"swallowkeeper/persist/record"
	"swallowkeeper/status"
	"swallowkeeper/upstream"
)

// bled is the record of a daemon that allowed nine of ten: of ten services of ten a server is lost every five seconds,
// until 61 are gone, and all of them are back after a while. Then one service loses all but one for good.
func bled(t *testing.T) string {
	t.Helper()
	limits := guard.DefaultConfig()
	limits.MaxRemoval, limits.MaxRemovalWindow, limits.MaxServiceRemoval = 0.9, 0.9, 0.9
	fleet := func(gone ...int) upstream.Set {
		lost := map[int]bool{}
		for _, n := range gone {
			lost[n] = true
		}
		var list []upstream.Upstream
		for s := range 10 {
			u := upstream.Upstream{Name: fmt.Sprintf("service-%d", s), Options: upstream.Options{Keepalive: 20}}
			for n := range 10 {
				if !lost[s*10+n] {
					u.Servers = append(u.Servers, upstream.Server{
						Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(s), byte(n + 1)}), 8080), Weight: 1, MaxFails: 3,
						FailTimeout: 2 * time.Second, Origin: "consul@127.0.0.1:8500",
					})
				}
			}
			if len(u.Servers) > 0 {
				list = append(list, u)
			}
		}
		return upstream.NewSet(list)
	}
	var e record.Encoder
	var text []byte
	accepted, history := fleet(), guard.History{}
	noon := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	sees := func(after time.Duration, seen upstream.Set) {
		in := guard.Input{Accepted: accepted, Seen: seen, History: history, Now: noon.Add(after)}
		d := limits.Decide(in)
		lines, err := e.Encode(replay.Moment{Input: in, Limits: limits, Result: d.Accepted, Began: len(text) == 0, Fresh: len(text) == 0}, false)
		if err != nil {
			t.Fatal(err)
		}
		text, accepted, history = append(text, lines...), d.Accepted, d.History
	}
	var gone []int
	for i := range 62 {
		sees(time.Duration(i)*5*time.Second, fleet(gone...))
		gone = append(gone, i)
	}
	sees(12*time.Minute, fleet())
	sees(time.Hour, fleet(50, 51, 52, 53, 54, 55, 56, 57, 58))
	calm, err := record.Calm(noon.Add(2 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "record.jsonl")
	if err := os.WriteFile(path, append(text, calm...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loose are the limits that the daemon of the story had.
var loose = []string{
	"SWALLOWKEEPER_GUARD_MAX_REMOVAL=0.9", "SWALLOWKEEPER_GUARD_MAX_REMOVAL_WINDOW=0.9", "SWALLOWKEEPER_GUARD_MAX_SERVICE_REMOVAL=0.9",
}

func TestSimulate(t *testing.T) {
	t.Parallel()
	path := bled(t)
	for _, tt := range []struct {
		name string
		env  []string
		args []string
	}{
		{"today.txt", loose, nil},
		{"window.txt", loose, []string{"--guard", "max_removal_window=0.3"}},
		{"window.json", loose, []string{"--guard", "max_removal_window=0.3", "-o", "json"}},
		{"window.yaml", loose, []string{"--guard", "max_removal_window=0.3", "-o", "yaml"}},
		{"several.txt", loose, []string{"--guard", "max_removal_window=0.3,window=1h", "--guard", "max_service_removal=0.5", "--guard=hold_for=10m"}},
		{"defaults.txt", nil, nil},
		{"looser.txt", nil, []string{"--guard", "max_removal=1"}},
		{"since.txt", nil, []string{"--since", "1d", "--until", "2026-11-30 02:30:00"}},
		{"later.txt", nil, []string{"--since", "2026-11-30T02:30:00Z"}},
		{"until.txt", nil, []string{"--until", "1h30m"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := call(t, tt.env, append([]string{"simulate", "--events", path}, tt.args...)...)
			got.wants(t, status.ExitInSync)
			if got.stderr != "" {
				t.Errorf("it said %q", got.stderr)
			}
			plain(t, got.stdout)
			if again := call(t, tt.env, append([]string{"simulate", "--events", path}, tt.args...)...); again.stdout != got.stdout {
				t.Error("the second time it says something else")
			}
			text := strings.ReplaceAll(got.stdout, filepath.Dir(path), "DIR")
			golden.File(t, filepath.Join("testdata", "simulate", tt.name), text)
		})
	}
}

// What is read from standard input is the same.
func TestSimulateReadsStandardInput(t *testing.T) {
	t.Parallel()
	path := bled(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := cli.Program{Stdin: bytes.NewReader(text)}
	if code := p.Run(t.Context(), []string{"simulate", "--events", "-", "--guard", "max_removal_window=0.3"}, loose, &out, &out); code != 0 {
		t.Fatalf("%d: %s", code, out.String())
	}
	want, err := os.ReadFile("testdata/simulate/window.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.ReplaceAll(string(want), "DIR/record.jsonl", "standard input"), out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestSimulateRefuses(t *testing.T) {
	t.Parallel()
	path := bled(t)
	empty := t.TempDir()
	torn := filepath.Join(empty, "torn")
	if err := os.WriteFile(torn, []byte(`{"time":"2026-11-30T02:00:00Z","begin":{"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--events", path, "--guard", "max_removl=0.3"}, status.ExitUsage, "command line: guard.max_removl: unknown key; did you mean max_removal?"},
		{[]string{"--events", path, "--guard", "max_removal=1.5"}, status.ExitUsage, "command line: guard.max_removal: 1.5 is not allowed; allowed is a share from 0 to 1"},
		{[]string{"--events", path, "--guard", "max_removal=-0.1"}, status.ExitUsage, "a share from 0 to 1"},
		{[]string{"--events", path, "--guard", "max_removal=NaN"}, status.ExitUsage, "allowed is a number"},
		{[]string{"--events", path, "--guard", "window=0s"}, status.ExitUsage, `guard.window: "0s" is not allowed; allowed is a duration from "1s" to "24h"`},
		{[]string{"--events", path, "--guard", "max_growth=0.5"}, status.ExitUsage, "a number from 1 to 1000"},
		{[]string{"--events", path, "--guard", "recovery=1m"}, status.ExitUsage, "which registry 1 waits for news"},
		{[]string{"--events", path, "--guard", "damping=maybe"}, status.ExitUsage, "true or false"},
		{[]string{"--events", path, "--guard", "max_removal"}, status.ExitUsage, "has no value"},
		{[]string{"--events", path, "--guard", ""}, status.ExitUsage, "has no value"},
		{[]string{"--events", path, "--guard", "max_removal=0.1,"}, status.ExitUsage, "has no value"},
		{[]string{"--events", path, "--guard", "allow_addresses=10.0.0.0/8"}, status.ExitUsage, "no rule judges by it"},
		{[]string{"--events", path, "--since", "yesterday"}, status.ExitUsage, `--since "yesterday": allowed is a time`},
		{[]string{"--events", path, "--until", "-1h"}, status.ExitUsage, "allowed is a time"},
		{[]string{"--events", path, "--history", empty}, status.ExitUsage, "give one of them"},
		{[]string{"--events", path, "-o", "xml"}, status.ExitUsage, "text, json or yaml"},
		{[]string{"more"}, status.ExitUsage, "takes no argument"},
		{[]string{"--events", filepath.Join(empty, "none")}, status.ExitFailed, "no such file"},
		{[]string{"--events", empty}, status.ExitFailed, "is a folder: --history takes one"},
		{[]string{"--events", torn}, status.ExitFailed, torn + " has no decision to replay: " + torn + ":1: the last line was not written to its end"},
		{[]string{"--history", empty}, status.ExitFailed, "there is no record in it, and there are no generations"},
		{[]string{"--history", filepath.Join(empty, "none")}, status.ExitFailed, "no such file"},
		{[]string{"--set", "persist.path=" + filepath.Join(empty, "u.conf")}, status.ExitFailed, "--history and --events name another one"},
		{[]string{"--events", "-", "--until", "1h"}, status.ExitUsage, "give a time"},
		{[]string{"--events", path, "--until", "2020-01-01"}, status.ExitFailed, "has no decision"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			call(t, nil, append([]string{"simulate"}, tt.args...)...).wants(t, tt.code, tt.want)
		})
	}
}

// simulated runs the command on the rig's history.
func (r *rig) simulated(args ...string) cli.Simulation {
	r.t.Helper()
	got := call(r.t, nil, append([]string{"--config", r.toml, "simulate", "-o", "json"}, args...)...)
	got.wants(r.t, status.ExitInSync)
	var s cli.Simulation
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// A replay with the same limits decides as the daemon did, with a real Consul, over holds, an approval, a freeze, a
// rollback, a kill and a restart; and with other limits it tells what they would have held.
func TestAReplayDecidesAsTheDaemonDid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[guard]\nmin_services = 1\n"
	r.configure()
	addrs := func(first, last int) (list []string) {
		for n := first; n <= last; n++ {
			list = append(list, fmt.Sprintf("10.9.0.%d:80", n))
		}
		return list
	}
	written := func(want int) {
		t.Helper()
		until(t, patience, func() string {
			if gen, _, err := persist.Read(r.conf); err != nil || gen.Set.Servers() != want {
				return fmt.Sprintf("the file has %d servers, %v; want %d", gen.Set.Servers(), err, want)
			}
			return ""
		})
	}
	r.up("web", addrs(1, 10)...)
	r.up("api", addrs(11, 20)...)
	many := []string{"SWALLOWKEEPER_PERSIST_HISTORY=500"} // each server may be a generation of its own
	d := r.process(many)
	written(20)
	r.gone("web", addrs(1, 2)...) // within the limits, and beyond them with a third of all
	written(18)
	r.critical("api", addrs(11, 11)...)
	written(17)
	r.gone("web", addrs(3, 10)...)
	r.gone("api", addrs(12, 18)...) // most of it is gone: held
	eventually(t, patience, "something is held", func() bool { return len(r.status().Holds) > 0 })
	d.kill()
	d.wait()

	d = r.process(many) // it goes on from the conf file
	eventually(t, patience, "something is held", func() bool { return len(r.status().Holds) > 0 })
	eventually(t, patience, "every hold is approved", func() bool { // the change may still become another one
		holds := r.status().Holds
		if len(holds) > 0 {
			r.command("approve", holds[0].ID)
		}
		return len(holds) == 0
	})
	r.up("web", addrs(1, 10)...)
	r.up("api", addrs(11, 20)...)
	written(20)
	r.command("rollback", "2", "--yes").wants(t, status.ExitInSync)
	r.command("unfreeze", "--all").wants(t, status.ExitInSync)
	written(20)
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}

	same := r.simulated()
	if same.Unlike != 0 || same.Decisions < 6 || len(same.Holds) == 0 || len(same.NotHeld) > 0 || len(same.Tried) > 0 || len(same.Notes) > 1 {
		t.Errorf("with the limits of then: %+v", same)
	}
	strict := r.simulated("--guard", "max_removal_window=0.1")
	if strict.Unlike != 0 || len(strict.Holds) < len(same.Holds) || strict.Holds[0].Rule != guard.RuleMaxRemovalWindow {
		t.Errorf("with stricter limits: %+v", strict)
	}
	if first := strict.Holds[0]; first.Other == nil || first.Other.Through == 0 {
		t.Errorf("the first hold of the stricter limits is %+v", first)
	}
	free := r.simulated("--guard", "max_removal=1", "--guard", "recovery=3m")
	if len(free.NotHeld) == 0 {
		t.Errorf("with looser limits: %+v", free)
	}
}

// A history of before there was a record has generations: they are replayed, and what is missing is said.
func TestSimulateAnOldHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[guard]\nmax_removal = 1\n"
	r.configure()
	for _, n := range []int{10, 9, 4} {
		for i := n; i < 10; i++ {
			r.gone("web", fmt.Sprintf("10.9.1.%d:80", i+1))
		}
		for i := range n {
			r.up("web", fmt.Sprintf("10.9.1.%d:80", i+1))
		}
		r.once().wants(t, status.ExitInSync)
	}
	got := call(t, nil, "simulate", "--history", filepath.Join(filepath.Dir(r.conf), ".upstreams.conf.history"), "--guard", "max_removal=0.5")
	got.wants(t, status.ExitInSync, "there is no record: this replays 3 generations", "5 of 9 servers would go, max_removal allows 50%", "3 decisions")
	if strings.Contains(got.stdout, "the daemon had others") {
		t.Error("nobody knows what the limits were")
	}
}
