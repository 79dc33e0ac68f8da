package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
)

// The tests of this file hold what the program promises about bad input, row by row.

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, toml string
		parts      []string
	}{
		{
			"unknown key", "[guard]\nmin_servics = 3\n",
			[]string{"bad.toml:2: guard.min_servics: unknown key; did you mean min_services?"},
		},
		{"unknown table", "\n[gard]\n", []string{"bad.toml:2: gard: unknown table; did you mean guard?"}},
		{
			"wrong type", "[guard]\n\nmin_services = \"many\"\n",
			[]string{"bad.toml:3: guard.min_services: found a string; allowed is a whole number"},
		},
		{"wrong value", "[guard]\nmax_removal = 2\n", []string{"bad.toml:2: guard.max_removal:", "allowed is a share from 0 to 1"}},
		{
			"every error at once", "[log]\nlevel = \"loud\"\n[persist]\npath = \"here\"\n[[gateway]]\naddress = \"ftp://x\"\n",
			[]string{"bad.toml:2: log.level:", "bad.toml:4: persist.path:", "bad.toml:6: gateway.address:"},
		},
		{"not TOML", "[guard\n", []string{"bad.toml:2: not TOML"}},
		{"two registries of one name", "[[registry]]\nname = \"x\"\n[[registry]]\nname = \"x\"\n", []string{"bad.toml:4: registry.2.name:"}},
		{"a CA file that is not there", "[[registry]]\naddress = \"https://127.0.0.1:1\"\nca_file = \"/nowhere/ca.pem\"\n", []string{"/nowhere/ca.pem"}},
		{"a token file that is not there", "[[registry]]\ntoken_file = \"/nowhere/token\"\n", []string{"/nowhere/token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "bad.toml")
			text := tt.toml
			if !strings.Contains(text, "[persist]") {
				text += fmt.Sprintf("[persist]\npath = %q\n", filepath.Join(dir, "u.conf"))
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, command := range [][]string{{}, {"--sync-once"}, {"--sync-once", "--dry-run"}, {"check"}} {
				call(t, nil, append(command, "--config", path)...).wants(t, status.ExitUsage, tt.parts...)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 { // the lock may be there
				t.Errorf("%v, %v", entries, err)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "none.toml")
		call(t, nil, "--config", path).wants(t, status.ExitUsage, path, "no such file")
	})
	t.Run("environment and flags", func(t *testing.T) {
		t.Parallel()
		call(t, []string{"SWALLOWKEEPER_GUARD_MIN_SERVICES=x"}, "check").wants(t, status.ExitUsage, "SWALLOWKEEPER_GUARD_MIN_SERVICES")
		call(t, nil, "check", "--set", "guard.nonsense=1").wants(t, status.ExitUsage, "guard.nonsense")
		call(t, nil, "check", "--log-level", "loud").wants(t, status.ExitUsage, "log.level")
	})
}

// Without Consul the daemon goes on with the file as baseline.
func TestBadConsulNotThere(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	r.configure()
	all := want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"}
	r.baseline(all)
	consul.Stop()
	before := r.state()
	began := time.Now()
	r.once("--timeout", "500ms").wants(t, status.ExitFailed, "registry consul gave no answer within 500ms", "connection refused")
	if took := time.Since(began); took > patience {
		t.Errorf("it took %s", took)
	}
	r.same(before)

	// A gateway that lost everything meanwhile gets it back from the file.
	r.nginx[0].Close()
	s, err := dyupstest.New(dyupstest.Options{
		APIAddr: strings.TrimPrefix(r.nginx[0].API(), "http://"), WorkerHeader: true, MaxConns: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	r.nginx[0] = s
	d := r.daemon()
	r.inSync(all)
	d.says("connection refused")

	consul.Restart()
	r.up("a", "10.0.0.3:80")
	all["a"] = "10.0.0.1:80 10.0.0.3:80"
	r.inSync(all)
	d.says("everything can be read again")
}

func TestBadConsulWithoutLeader(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t)
	// Queries that wait go on waiting without a leader: short ones end soon.
	r.registries = fmt.Sprintf("[[registry]]\nname = \"consul\"\naddress = %q\nwait = \"1s\"\n", consul.Addr)
	r.configure()
	r.baseline(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"})
	d := r.daemon()
	d.says("is in sync")
	before := r.state()
	consul.LoseLeader()
	until(t, 2*patience, func() string { // Consul hopes for a leader for a while, and then says so or says nothing
		log := d.log.String()
		if !strings.Contains(log, "can't read the list of services") ||
			!strings.Contains(log, "No cluster leader") && !strings.Contains(log, "no answer in time") {
			return "the log does not say that there is no leader"
		}
		return ""
	})
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.once("--timeout", "2s").wants(t, status.ExitFailed, "registry consul gave no answer within 2s")
	r.same(before)
}

// Refused and cut lists are unknown, not empty.
func TestBadConsulRights(t *testing.T) {
	t.Parallel()
	r, consul := ownConsul(t, consultestserver.WithACL())
	all := want{"a": "10.0.0.1:80", "b": "10.0.0.2:80 10.0.0.3:80"}
	with := func(extra string) {
		r.registries = fmt.Sprintf("[[registry]]\nname = \"consul\"\naddress = %q\n%s\n", consul.Addr, extra)
		r.configure()
	}
	with(fmt.Sprintf("token = %q", consul.Token))
	r.baseline(all)
	before := r.state()

	policy, _, err := r.client.ACL().PolicyCreate(&api.ACLPolicy{
		Name: "part", Rules: fmt.Sprintf("service %q { policy = \"read\" }\nnode_prefix \"\" { policy = \"read\" }", r.prefix+"a"),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := r.client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}

	with(`token = "00000000-dead-beef-0000-000000000000"`)
	r.once("--timeout", "1s").wants(t, status.ExitFailed, "the token is refused", "ACL not found")
	r.same(before)
	with("")
	r.once("--timeout", "1s").wants(t, status.ExitFailed, "the ACL policy is to deny and there is no token")
	r.same(before)
	with(fmt.Sprintf("token = %q", token.SecretID))
	r.once("--timeout", "1s").wants(t, status.ExitFailed, "the list is cut by ACLs", `acl_filtered = "accept"`)
	r.same(before)
	d := r.daemon()
	d.says("the list is cut by ACLs")
	d.says("is in sync")
	r.same(before)
	if code := d.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	// Meant to see a part: then that part is all there is.
	with(fmt.Sprintf("token = %q\nacl_filtered = \"accept\"\n[guard]\nmax_removal = 1", token.SecretID))
	r.once().wants(t, status.ExitInSync, "1 removed")
	r.inSync(want{"a": "10.0.0.1:80"})
}

func TestBadFolder(t *testing.T) {
	t.Parallel()
	t.Run("missing at the start", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		r.conf = filepath.Join(r.dir, "nowhere", "u.conf")
		r.configure()
		r.up("a", "10.0.0.1:80")
		r.once().wants(t, status.ExitFailed, r.conf, "no such file or directory")
		d := r.daemon()
		d.says("again_in=")
		d.says(r.conf)
		if n := r.nginx[0].Posts(); n != 0 {
			t.Errorf("%d posts", n)
		}
		if err := os.Mkdir(filepath.Dir(r.conf), 0o755); err != nil {
			t.Fatal(err)
		}
		r.inSync(want{"a": "10.0.0.1:80"})
	})
	t.Run("lost on the way", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(want{"a": "10.0.0.1:80"})
		d := r.daemon()
		d.says("is in sync")
		posts := r.nginx[0].Posts()
		away := filepath.Dir(r.conf) + ".away"
		if err := os.Rename(filepath.Dir(r.conf), away); err != nil {
			t.Fatal(err)
		}
		r.up("a", "10.0.0.2:80")
		d.says("the conf file can't be written: nothing is pushed")
		d.says(r.conf)
		d.says("no such file or directory")
		if n := r.nginx[0].Posts() - posts; n != 0 {
			t.Errorf("%d posts", n)
		}
		if err := os.Rename(away, filepath.Dir(r.conf)); err != nil {
			t.Fatal(err)
		}
		r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	})
	t.Run("a file of another writer", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.up("a", "10.0.0.1:80")
		const theirs = "upstream mine { server 10.0.0.9:80; }\n"
		if err := os.WriteFile(r.conf, []byte(theirs), 0o644); err != nil {
			t.Fatal(err)
		}
		before := r.state()
		r.once().wants(t, status.ExitFailed, r.conf, "was not written by swallowkeeper", "move it away")
		r.once("--dry-run").wants(t, status.ExitFailed, "was not written by swallowkeeper")
		if code := r.daemon().wait(); code != status.ExitFailed {
			t.Errorf("exit code %d", code)
		}
		r.same(before)
	})
	t.Run("the check refuses the file", func(t *testing.T) {
		t.Parallel()
		r := newRig(t).configure()
		r.baseline(want{"a": "10.0.0.1:80"})
		before := r.state()
		r.up("a", "10.0.0.2:80")
		r.once("--set", `persist.check=["sh", "-c", "echo this is wrong; exit 3"]`).wants(t, status.ExitFailed, "this is wrong", "exit status 3")
		for name := range r.state().Files {
			if _, ok := before.Files[name]; !ok {
				t.Errorf("%s was left behind", name)
			}
		}
		if got := r.addresses(r.read().Set)["a"]; got != "10.0.0.1:80" || r.nginx[0].Posts() != before.Posts[0] {
			t.Errorf("the file has %s, %d posts", got, r.nginx[0].Posts())
		}
		r.once("--set", `persist.check=["true"]`).wants(t, status.ExitInSync)
	})
}

// A gateway that is none has a named error, and the others are unharmed.
func TestBadGateway(t *testing.T) {
	t.Parallel()
	page := func(status int) func(*testing.T) string {
		return func(t *testing.T) string {
			return answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "<html><body>\x1b[31mhello\nworld</body></html>")
			})
		}
	}
	broken := func(f func(*dyupstest.Server)) func(*testing.T) string {
		return func(t *testing.T) string {
			s, err := dyupstest.New(dyupstest.Options{WorkerHeader: true, MaxConns: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			f(s)
			return s.API()
		}
	}
	tests := []struct {
		name  string
		start func(*testing.T) string
		parts []string
	}{
		{"nothing listens", func(t *testing.T) string { return "http://" + loopback.Refused(t) }, []string{"connection refused"}},
		{"no such socket", func(*testing.T) string { return "unix:/nowhere/dyups.sock" }, []string{"/nowhere/dyups.sock", "no such file"}},
		{"a web page", page(200), []string{"not a dyups interface"}},
		{"404", page(404), []string{"not a dyups interface", "404"}},
		{"405", page(405), []string{"not a dyups interface", "405"}},
		{"500 to all", page(500), []string{"500"}},
		{"a redirect", func(t *testing.T) string {
			return answering(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://10.9.9.9/", http.StatusFound)
			})
		}, []string{"302"}},
		{"not HTTP", func(t *testing.T) string { return "http://" + greeting(t, "220 smtp.example ESMTP\r\n") }, []string{"malformed HTTP"}},
		{"hangs", func(t *testing.T) string { return "http://" + hanging(t) }, []string{"no answer within"}},
		{"hangs after the connection", broken(func(s *dyupstest.Server) { s.Hang(true) }), []string{"no answer within"}},
		{
			"500 to each post", broken(func(s *dyupstest.Server) { s.FailNext(1000, 500, "add server failed", http.MethodPost) }),
			[]string{"post upstream", "500", "add server failed"},
		},
		{
			"409 for ever", broken(func(s *dyupstest.Server) { s.FailNext(1000, 409, "wait and try again\n", http.MethodPost) }),
			[]string{"post upstream", "409", "wait and try again"},
		},
		{"cuts its bodies", broken(func(s *dyupstest.Server) { s.CutBodies(true) }), []string{"unexpected EOF"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).configure()
			r.baseline(want{"a": "10.0.0.1:80", "b": "10.0.0.2:80"}) // beside one that can't be asked nothing new is written
			bad := strings.Replace(gatewayTable("bad", tt.start(t)), `"2s"`, `"300ms"`, 1)
			r.gateways = bad + gatewayTable("good", r.nginx[0].API())
			r.configure()
			r.up("a", "10.0.0.3:80")
			got := r.once()
			got.wants(t, status.ExitOutOfSync, append(tt.parts, "gateway bad: out of sync: ", "gateway good: in sync (0 added, 1 updated, 0 removed)")...)
			if strings.Contains(got.stdout+got.stderr, "\x1b") {
				t.Errorf("what the gateway answered reaches the terminal: %q", got.stdout+got.stderr)
			}
			r.inSync(want{"a": "10.0.0.1:80 10.0.0.3:80", "b": "10.0.0.2:80"})
		})
	}
}

// greeting is a server of another protocol.
func greeting(t *testing.T, text string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
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
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestBadSecondSwallowkeeper(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.baseline(want{"a": "10.0.0.1:80"})
	first := r.process(nil)
	first.says("is in sync")
	before := r.state()
	naming := fmt.Sprintf("process %d writes it already", first.pid)
	r.once().wants(t, status.ExitFailed, naming)
	second := r.process(nil)
	if code := second.wait(); code != status.ExitFailed {
		t.Errorf("exit code %d", code)
	}
	second.says(naming)
	r.once("--dry-run").wants(t, status.ExitInSync) // reads only
	r.same(before)
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitInSync) // tries to write, with files that it removes
	first.kill()
	first.wait()
	r.once().wants(t, status.ExitInSync)
}
