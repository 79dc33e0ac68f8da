package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
	"swallowkeeper/status/statustest"
)

// address is host:port of the desk's page.
func (d *desk) address() string {
	return strings.Trim(strings.TrimPrefix(d.url, "http://"), "/")
}

func (d *desk) port() string {
	_, port, err := net.SplitHostPort(d.address())
	if err != nil {
		d.t.Fatal(err)
	}
	return port
}

// TestWhereTheDaemonIsLookedFor: flags over the environment over the file over the defaults, and
// the address where nobody is at the socket.
func TestWhereTheDaemonIsLookedFor(t *testing.T) {
	t.Parallel()
	here, other := newDesk(t, statustest.New()), newDesk(t, statustest.New())
	other.fake.Change(func(s *statustest.State) { s.Status.Registries[0].Trouble = "the other one" })
	file := func(d *desk, table string) string {
		path := filepath.Join(t.TempDir(), "swallowkeeper.toml")
		text := fmt.Sprintf("[persist]\npath = %q\n[status]\n%s\n", d.conf, table)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const nobody = `socket = "/nowhere/s"`
	atOther := func(key, value string) string { return fmt.Sprintf("%s = %q", key, value) }
	for _, test := range []struct {
		name string
		env  []string
		args []string
	}{
		{"the address of the environment", []string{"SWALLOWKEEPER_STATUS_ADDRESS=" + here.address()}, nil},
		{"a URL of the environment", []string{"SWALLOWKEEPER_STATUS_ADDRESS=" + here.url}, nil},
		{"all addresses", []string{"SWALLOWKEEPER_STATUS_ADDRESS=0.0.0.0:" + here.port()}, nil},
		{"the socket of the environment", []string{"SWALLOWKEEPER_STATUS_SOCKET=" + here.socket}, nil},
		{"the socket comes first", []string{"SWALLOWKEEPER_STATUS_SOCKET=" + here.socket, "SWALLOWKEEPER_STATUS_ADDRESS=" + other.address()}, nil},
		{"a socket at which nobody is", []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_ADDRESS=" + here.address()}, nil},
		{"the file's address", nil, []string{"--config", file(here, nobody+"\n"+atOther("address", here.address()))}},
		{
			"the environment goes over the file",
			[]string{"SWALLOWKEEPER_STATUS_ADDRESS=" + here.address()},
			[]string{"--config", file(here, atOther("socket", other.socket))},
		},
		{
			"a URL of the environment goes over the file",
			[]string{"SWALLOWKEEPER_STATUS_ADDRESS=" + here.url},
			[]string{"--config", file(other, atOther("socket", other.socket))},
		},
		{"the flag goes over the environment", []string{"SWALLOWKEEPER_STATUS_SOCKET=" + other.socket}, []string{"--socket", here.socket}},
		{"also as an address", []string{"SWALLOWKEEPER_STATUS_SOCKET=" + other.socket}, []string{"--address", here.url}},
		{"a flag without http", nil, []string{"--address", here.address()}},
		{"the flag goes over a URL", []string{"SWALLOWKEEPER_STATUS_ADDRESS=" + other.url}, []string{"--socket", here.socket}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, test.env, append([]string{"status"}, test.args...)...)
			got.wants(t, status.ExitHeld, "account")
			if got.stderr != "" {
				t.Errorf("it says %s", got.stderr)
			}
		})
	}
}

// TestAnotherDaemonIsNotTakenForOurs: at the address answers one that works with other files.
func TestAnotherDaemonIsNotTakenForOurs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	env := []string{
		"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_PERSIST_PATH=/nowhere/u.conf",
		"SWALLOWKEEPER_STATUS_ADDRESS=" + d.address(), "SWALLOWKEEPER_STATUS_TOKEN=" + deskToken,
	}
	call(t, env, "status").wants(t, status.ExitFailed, "the daemon does not answer", "nothing was written yet", "a daemon that writes "+d.conf+" answers there")
	call(t, env, "freeze", "checkout").wants(t, status.ExitFailed)
	if st := d.fake.Status(); len(st.Freezes) != 1 {
		t.Errorf("it was frozen: %+v", st.Freezes)
	}
	// Without any configuration the daemon's own token names it.
	call(t, []string{"SWALLOWKEEPER_STATUS_TOKEN=" + deskToken, "SWALLOWKEEPER_STATUS_ADDRESS=" + d.address()},
		"freeze", "checkout").wants(t, status.ExitInSync, "checkout is frozen")
}

// TestChangesWithoutATokenTakeTheSocket: the daemon's own environment may name the address that it
// listens at, as a container's does.
func TestChangesWithoutATokenTakeTheSocket(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	table := fmt.Sprintf("[persist]\npath = %q\n[status]\nsocket = %q\n", d.conf, d.socket)
	path := filepath.Join(t.TempDir(), "swallowkeeper.toml")
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SWALLOWKEEPER_STATUS_ADDRESS=" + d.address()}
	call(t, env, "freeze", "checkout", "--config", path).wants(t, status.ExitInSync, "checkout is frozen")
}

// nobodys runs the program as an account that may read nothing of ours.
func nobodys(t *testing.T, env []string, args ...string) ran {
	t.Helper()
	dir, err := os.MkdirTemp("", "sk-program") //nolint:usetesting // every folder on the way must be open
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "swallowkeeper")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "install", "-m", "755", self, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{asProgram + "=1", "GORACE=atexit_sleep_ms=0"}, env...)
	if os.Getuid() == 0 { // nothing is closed to root
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// TestEverybodyMayLook is a plain user: neither the configuration nor the socket is for him, and the
// address is.
func TestEverybodyMayLook(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	closed := filepath.Join(t.TempDir(), "swallowkeeper.toml")
	if err := os.WriteFile(closed, []byte("[guard]\nmin_services = 1\n"), 0); err != nil {
		t.Fatal(err)
	}
	env := []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "SWALLOWKEEPER_STATUS_ADDRESS=" + d.address()}
	want := map[string]ran{}
	all := []string{"status", "upstreams", "explain checkout", "plan", "history", "history 12", "diff 11 12"}
	for _, args := range all {
		want[args] = d.call(strings.Fields(args)...)
	}
	if err := os.Chmod(d.socket, 0); err != nil {
		t.Fatal(err)
	}
	for _, args := range all {
		want := want[args]
		got := nobodys(t, env, append(strings.Fields(args), "--config", closed)...)
		if got.stderr != "" || got.code != want.code || clock.ReplaceAllString(got.stdout, "") != clock.ReplaceAllString(want.stdout, "") {
			t.Errorf("%s: exit code %d, want %d; it says %s%s", args, got.code, want.code, got.stdout, got.stderr)
		}
	}
	// A change is not for everybody, and needs to know which files are meant.
	nobodys(t, env, "freeze", "checkout", "--config", closed).wants(t, status.ExitUsage, closed, "permission denied")

	// Where nothing answers it says everything that it tried.
	dead := loopback.Refused(t)
	env = []string{"SWALLOWKEEPER_STATUS_SOCKET=" + d.socket, "SWALLOWKEEPER_STATUS_ADDRESS=" + dead}
	nobodys(t, env, "status", "--config", closed).wants(t, status.ExitUsage, "no right to the socket", dead, closed, "permission denied", "--address")
	env = []string{"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_ADDRESS=" + dead}
	nobodys(t, env, "status", "--config", closed).wants(t, status.ExitUsage, "the daemon does not answer", dead, closed, "permission denied", "--address")
	// A file that he may read and that is wrong is an error as ever.
	nobodys(t, env, "status", "--set", "guard.nonsense=1").wants(t, status.ExitUsage, "guard.nonsense")
}

// TestALookNeedsNoSecrets: the configuration can be read, and a token file that it names can't be.
func TestALookNeedsNoSecrets(t *testing.T) {
	t.Parallel()
	d := newDesk(t, statustest.New())
	path := filepath.Join(t.TempDir(), "swallowkeeper.toml")
	text := fmt.Sprintf("[[registry]]\ntoken_file = \"/nowhere/token\"\n[persist]\npath = %q\n[status]\nsocket = %q\n", d.conf, d.socket)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := call(t, nil, "status", "--config", path); got.code != status.ExitHeld || got.stderr != "" {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
	d.stop()
	call(t, nil, "status", "--config", path).wants(t, status.ExitUsage, "the daemon does not answer", "/nowhere/token")
}

// TestAnAddressThatIsNotOne names what is allowed.
func TestAnAddressThatIsNotOne(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"here", "ftp://127.0.0.1:1", "http://"} {
		call(t, nil, "status", "--address", at).wants(t, status.ExitUsage, "--address", "http://127.0.0.1:9180")
	}
	call(t, []string{"SWALLOWKEEPER_STATUS_ADDRESS=ftp://127.0.0.1:1"}, "status").wants(t, status.ExitUsage, "SWALLOWKEEPER_STATUS_ADDRESS", "ftp://")
}

// TestAHangingWayIsNotWaitedForForever has the address hang where the socket is not there.
func TestAHangingWayIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	defer hanging.Close()
	defer close(stop)
	_, port, _ := net.SplitHostPort(hanging.Listener.Addr().String())
	env := []string{
		"SWALLOWKEEPER_STATUS_SOCKET=/nowhere/s", "SWALLOWKEEPER_STATUS_ADDRESS=:" + port,
		"SWALLOWKEEPER_PERSIST_PATH=" + filepath.Join(t.TempDir(), "u.conf"),
	}
	call(t, env, "history").wants(t, status.ExitInSync, "the daemon does not answer", "no generation is kept yet")
}
