package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// TestWhatIsWrongWithACommandLine: it says what, in our words, and what was meant.
func TestWhatIsWrongWithACommandLine(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"statsu":                           `unknown command "statsu"; did you mean status?`,
		"statsu --for 2h":                  `unknown command "statsu"; did you mean status?`,
		"upstream":                         `unknown command "upstream"; did you mean upstreams?`,
		"xyzzy":                            `unknown command "xyzzy"; there are `,
		"nginx install-lu":                 `unknown command "install-lu"; did you mean install-lua?`,
		"nginx":                            "a command is missing: swallowkeeper nginx install-lua",
		"completion":                       "a command is missing: swallowkeeper completion bash|fish|powershell|zsh",
		"completion bsh":                   `unknown command "bsh"; did you mean bash?`,
		"completion bash x":                "takes no argument",
		"help statsu":                      `unknown command "statsu"; did you mean status?`,
		"status now":                       `unknown command "now": swallowkeeper status takes no argument`,
		"status --outptu json":             "unknown flag: --outptu; did you mean --output?",
		"status --addressx x":              "unknown flag: --addressx; did you mean --address?",
		"status -output":                   `--output "utput": allowed is text, json or yaml`,
		"status -socket x":                 "unknown flag: -s; did you mean --socket?",
		"status -x":                        "unknown flag: -x",
		"status --=x":                      `"--=x" is not a flag`,
		"status --output":                  "the flag needs an argument: --output: FORMAT text, json or yaml",
		"status --output xml":              `--output "xml": allowed is text, json or yaml`,
		"version -o xml":                   `--output "xml": allowed is text, json or yaml`,
		"check -o xml":                     `--output "xml": allowed is text, json or yaml`,
		"doctor -o xml":                    `--output "xml": allowed is text, json or yaml`,
		"--sync-once -o xml":               `--output "xml": allowed is text, json or yaml`,
		"status --timeout soon":            `--timeout "soon": allowed is a duration above 0s, e.g. `,
		"check --timeout 0s":               `--timeout "0s": allowed is a duration above 0s, e.g. `,
		"freeze web --for 1y":              `--for "1y": allowed is a duration above 0s, e.g. 90s, 2h, 1d12h or 1w`,
		"freeze web --for 0d":              `--for "0d": allowed is a duration above 0s`,
		"freeze web --for -1d":             `--for "-1d": allowed is a duration above 0s`,
		"freeze web --for d":               `--for "d": allowed is a duration above 0s`,
		"freeze web --for 99999999999w":    `allowed is a duration above 0s`,
		"freeze --all=perhaps":             `--all "perhaps": allowed is true or false`,
		"explain":                          "NAME is missing: usage: swallowkeeper explain NAME [ADDR]",
		"explain a b c":                    `unexpected argument "c": usage: swallowkeeper explain NAME [ADDR]`,
		"diff 1":                           "B is missing: usage: swallowkeeper diff A B",
		"approve":                          "ID is missing: usage: swallowkeeper approve ID",
		"rollback x --yes":                 `"x": allowed is the number of a generation; swallowkeeper history lists them`,
		"upstreams [":                      `"[": allowed is the name of an upstream, or a pattern with * and ?`,
		"--dry-run":                        "--dry-run goes with --sync-once",
		"--sync-once --dry-run --aprove x": "unknown flag: --aprove; did you mean --approve?",
	} {
		got := newDesk(t, statustest.New()).call(strings.Fields(args)...)
		if got.code != status.ExitUsage || !strings.Contains(got.stderr, says) || got.stdout != "" {
			t.Errorf("%s: exit code %d, %s%s; want %q", args, got.code, got.stdout, got.stderr, says)
		}
	}
}

// TestUnknownNames: the nearest name, what is held, what is kept.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	for args, says := range map[string]string{
		"approve abc":                 "no hold abc; held now: " + statustest.HoldID,
		"explain chekcout":            "did you mean checkout?",
		"explain checkout 10.20.5.99": `upstream checkout has no server "10.20.5.99", in or out; it has 10.20.5.11:8080, `,
		"freeze chekcout":             "did you mean checkout?",
		"upstreams chekcout":          `there is no upstream "chekcout"; did you mean checkout?`,
		"upstreams xyzzy*":            `there is no upstream "xyzzy*"`,
		"history 99":                  "swallowkeeper history lists the kept ones; kept now: 7 to 12",
		"diff 99 12":                  "swallowkeeper history lists the kept ones; kept now: 7 to 12",
		"rollback 99 --yes":           "swallowkeeper history lists the kept ones; kept now: 7 to 12",
	} {
		got := d.call(strings.Fields(args)...)
		if got.code != status.ExitFailed || !strings.Contains(got.stderr, says) {
			t.Errorf("%s: exit code %d, %s; want %q", args, got.code, got.stderr, says)
		}
	}
	d.call("approve", statustest.HoldID).wants(t, status.ExitInSync)
	d.call("approve", "abc").wants(t, status.ExitFailed, "no hold abc; nothing is held now")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	want := call(t, nil, "version")
	want.wants(t, status.ExitInSync, "swallowkeeper "+versionText(), "go1.")
	if got := call(t, nil, "--version"); got != want {
		t.Errorf("--version: %+v, want %+v", got, want)
	}
	call(t, nil, "version", "-o", "json").wants(t, status.ExitInSync, `"version": "`)
}

// TestYAMLHasTheWordsOfJSON has every command that prints data print it in both.
func TestYAMLHasTheWordsOfJSON(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"status", "upstreams", "upstreams checkout", "routes", "routes checkout", "routes match GET /x", "explain checkout", "plan", "history", "history 12", "diff 11 12", "version",
		"approve " + statustest.HoldID, "freeze checkout", "unfreeze coupon", "rollback 10 --yes", "doctor --nginx-conf /dev/null",
		"check --timeout 1s --set registry.address=127.0.0.1:1", "--sync-once --timeout 1s --set registry.address=127.0.0.1:1",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			var values []any
			for _, output := range []string{"json", "yaml"} {
				d := newDesk(t, statustest.New()) // an order can be carried out once
				got := d.call(append(strings.Fields(args), "-o", output)...)
				text := strings.NewReplacer(d.conf, "CONF", d.socket, "SOCKET").Replace(clock.ReplaceAllString(got.stdout, "TIME"))
				if strings.Contains(got.stdout, "0001-01-01") {
					t.Errorf("a zero time is printed: %s", got.stdout)
				}
				if output == "json" != json.Valid([]byte(text)) {
					t.Errorf("as %s it says %s%s", output, got.stdout, got.stderr)
				}
				var value any
				if err := yaml.Unmarshal([]byte(text), &value); err != nil {
					t.Errorf("%v: %s", err, text)
				}
				if m, ok := value.(map[string]any); ok {
					delete(m, "findings") // of a machine that is asked twice
				}
				values = append(values, value)
			}
			if values[0] == nil {
				t.Error("it says nothing")
			}
			if diff := cmp.Diff(values[0], values[1]); diff != "" {
				t.Errorf("(-JSON +YAML):\n%s", diff)
			}
		})
	}
}

// TestYAMLKeepsWords that other readers take for something else.
func TestYAMLKeepsWords(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	names := []string{"yes", "on", "null", "1", "1e3", "0x10", "~", "- a", "a: b", "# a", "2026-01-02"}
	fake.Change(func(s *statustest.State) {
		for _, n := range names {
			s.Upstreams = append(s.Upstreams, status.Upstream{Name: n})
		}
	})
	var got struct{ Upstreams []status.Upstream }
	if err := yaml.Unmarshal([]byte(newDesk(t, fake).call("upstreams", "-o", "yaml").stdout), &got); err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !slices.ContainsFunc(got.Upstreams, func(u status.Upstream) bool { return u.Name == n }) {
			t.Errorf("%q is not there", n)
		}
	}
}

func TestSomeUpstreams(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	for pattern, want := range map[string]string{
		"checkout": "checkout", "CheckOut": "checkout", "c*": "catalog checkout coupon", "??gin": "login", "<script>*": "",
	} {
		got := d.call("upstreams", pattern, "-o", "json")
		var all struct{ Upstreams []status.Upstream }
		_ = json.Unmarshal([]byte(got.stdout), &all)
		var names []string
		for _, u := range all.Upstreams {
			names = append(names, u.Name)
		}
		if want != "" && strings.Join(names, " ") != want {
			t.Errorf("%s: %v, want %s; %s", pattern, names, want, got.stderr)
		}
	}
	if text := d.call("upstreams", "login").stdout; strings.Count(text, " in, ") != 1 || !strings.HasPrefix(text, "login: 2 in") {
		t.Errorf("it says %s", text)
	}
}

func TestExplainAnAddress(t *testing.T) {
	t.Parallel()
	fake := statustest.New()
	fake.Change(func(s *statustest.State) {
		s.Upstreams = append(s.Upstreams, status.Upstream{Name: "many", Servers: []status.Server{
			{Addr: "10.9.9.9:1", State: status.In},
			{Addr: "10.9.9.9:2", State: status.Out},
			{Addr: "10.9.9.10:1", State: status.In},
			{Addr: "[2001:db8::1]:1", State: status.In},
		}})
	})
	d := newDesk(t, fake)
	for addr, want := range map[string]int{"10.9.9.9": 2, "10.9.9.9:2": 1, "2001:db8::1": 1, "[2001:db8::1]": 1, "[2001:db8::1]:1": 1, "2001:DB8:0::1": 1} {
		var e status.Explanation
		got := d.call("explain", "many", addr, "-o", "json")
		if err := json.Unmarshal([]byte(got.stdout), &e); err != nil || len(e.Servers) != want {
			t.Errorf("%s: %d servers, want %d: %v, %s", addr, len(e.Servers), want, err, got.stderr)
		}
	}
	d.call("explain", "many", "10.9.9.1").wants(t, status.ExitFailed, "10.9.9.1")
}

// TestCompletion asks as the shell does.
func TestCompletion(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	for args, want := range map[string]string{
		"approve ":                        statustest.HoldID,
		"--sync-once --approve ":          statustest.HoldID,
		"history ":                        "12 11 10 9 7",
		"rollback 1":                      "12 11 10",
		"diff 12 ":                        "12 11 10 9 7",
		"unfreeze ":                       "coupon",
		"freeze ch":                       "checkout",
		"explain lo":                      "login",
		"upstreams pa":                    "payment",
		"explain login ":                  "10.20.10.11:8080 10.20.10.12:8080",
		"explain login 10.20.10.11:8080 ": "",
		"status ":                         "",
		"status -o ":                      "text json yaml",
		"--sync-once --output ":           "text json yaml",
		"freeze web --for ":               "30m 2h 12h 1d 1w",
		"--log-format ":                   "text json",
		"--log-level w":                   "warning",
		"statu":                           "status",
		"nginx ":                          "install-lua",
	} {
		ask := func(where ...string) string {
			words := append([]string{"__complete"}, strings.Split(args, " ")...)
			got := call(t, []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket}, slices.Insert(words, len(words)-1, where...)...)
			var names []string
			for line := range strings.Lines(got.stdout) {
				name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				if !strings.HasPrefix(line, ":") && !strings.HasPrefix(line, "-") {
					names = append(names, name)
				}
			}
			return strings.Join(names, " ")
		}
		if got := ask(); got != want {
			t.Errorf("%q is completed to %q, want %q", args, got, want)
		}
	}
	// The daemon that a flag names is the one that is asked.
	got := call(t, []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s"}, "__complete", "approve", "--address", d.url, "")
	got.wants(t, status.ExitInSync, statustest.HoldID)
	// Without one nothing hangs and nothing is said.
	got = call(t, []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_ADDRESS="}, "__complete", "approve", "")
	if strings.Contains(got.stderr, "daemon") {
		t.Errorf("it says %s", got.stderr)
	}
}

func TestAFreezeForDays(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	d.call("freeze", "checkout", "--for", "1d12h").wants(t, status.ExitInSync, "frozen for 36h0m0s")
	d.fake.Read(func(s statustest.State) {
		if diff := cmp.Diff([]status.FreezeRequest{{Name: "checkout", For: "36h0m0s"}}, s.Frozen); diff != "" {
			t.Error(diff)
		}
	})
}
