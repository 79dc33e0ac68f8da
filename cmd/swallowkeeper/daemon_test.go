package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
)

// Not parallel: it looks at all goroutines of the process.
func TestDaemonLeavesNothingBehind(t *testing.T) {
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	before := goleak.IgnoreCurrent()
	d := r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
	r.nginx[0].Close() // its goroutines are those of connections that have ended
	r.nginx = nil
	until(t, patience, func() string {
		if err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
			goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop")); err != nil {
			return err.Error()
		}
		return ""
	})
}

func TestDaemonSignalsEndIt(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).configure()
			r.up("a", "10.0.0.1:80")
			d := r.process(nil)
			r.inSync(want{"a": "10.0.0.1:80"})
			d.signal(s)
			if code := d.wait(); code != status.ExitInSync {
				t.Errorf("exit code %d", code)
			}
			d.says("swallowkeeper ends")
			// Traffic goes on as it was: nothing is taken away at the end.
			r.inSync(want{"a": "10.0.0.1:80"})
		})
	}
	t.Run("while nothing answers", func(t *testing.T) {
		t.Parallel()
		r := bareRig(t, hanging(t))
		r.nginx[0].Hang(true)
		r.gateways = patient(gatewayTable("gw1", r.nginx[0].API()))
		r.configure()
		d := r.process(nil)
		d.says("the conf file is the baseline")
		if code := d.stop(); code != status.ExitInSync {
			t.Errorf("exit code %d", code)
		}
		r.nginx[0].Hang(false)
	})
	t.Run("while it waits for the folder", func(t *testing.T) {
		t.Parallel()
		r := bareRig(t, loopback.Refused(t))
		r.conf = filepath.Join(r.dir, "nowhere", "u.conf")
		r.configure()
		d := r.process(nil)
		d.says("again_in=")
		if code := d.stop(); code != status.ExitInSync {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestDaemonReadsItsConfigurationAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.extra = "[upstream]\nkeepalive = 20\n"
	r.configure()
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	all := want{"a": "10.0.0.1:80"}
	r.inSync(all)
	first := r.read().Number

	r.extra = "[upstream]\nkeepalive = 33\n"
	r.configure()
	d.signal(syscall.SIGHUP)
	d.says("the configuration was reloaded")
	eventually(t, patience, "the new keepalive", func() bool {
		u, _ := r.read().Set.Get(r.prefix + "a")
		return u.Options.Keepalive == 33
	})
	r.inSync(all)
	if n := r.read().Number; n != first+1 {
		t.Errorf("generation %d follows %d", n, first)
	}

	before := r.state()
	for i, bad := range []string{"[upstream]\nkeepalive = -1\n", "not TOML", "[guard]\nnonsense = 1\n"} {
		r.extra = bad
		r.configure()
		d.signal(syscall.SIGHUP)
		eventually(t, patience, "it is refused", func() bool {
			return strings.Count(d.log.String(), "the new configuration is refused: the old one stays in use") == i+1
		})
	}
	d.says("swallowkeeper.toml:")
	r.same(before)
	r.extra = "[persist]\npath = \"/nowhere/u.conf\"\n"
	text, err := os.ReadFile(r.toml)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(text), r.conf, "/nowhere/u.conf", 1)
	moved = moved[:strings.Index(moved, "[guard]")]
	if err := os.WriteFile(r.toml, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGHUP)
	eventually(t, patience, "it is refused", func() bool {
		return strings.Count(d.log.String(), "the new configuration is refused: the old one stays in use") == 4
	})
	r.up("a", "10.0.0.2:80")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	if u, _ := r.read().Set.Get(r.prefix + "a"); u.Options.Keepalive != 33 {
		t.Errorf("keepalive %d, want the old configuration's 33", u.Options.Keepalive)
	}
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
}

// A token file that can't be read is no reason to lose the page by a reload.
func TestDaemonRefusesATokenThatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.pageAddr = "127.0.0.1:0"
	r.configure()
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	d.says(`the page and the API are served" at="http://127.0.0.1`)
	text, err := os.ReadFile(r.toml)
	if err != nil {
		t.Fatal(err)
	}
	file := strings.Replace(string(text), fmt.Sprintf("token = %q", pageToken), `token_file = "/nowhere/token"`, 1)
	if err := os.WriteFile(r.toml, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	d.signal(syscall.SIGHUP)
	d.says("the new configuration is refused: the old one stays in use")
	d.says("status.token_file: ")
	if n := strings.Count(d.log.String(), "the page and the API are served"); n != 2 { // at the address and at the socket, once
		t.Errorf("the page was taken %d times:\n%s", n, d.log.String())
	}
	call(t, nil, "check", "--config", r.toml).wants(t, status.ExitFailed, "status.token_file: ")
}

// A person's command takes the conf file's lock between the two runs of a reload.
func TestDaemonReloadsWhileACommandHasTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	d := r.process(nil)
	r.inSync(want{"a": "10.0.0.1:80"})
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(r.conf), "."+filepath.Base(r.conf)+".lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	has := make(chan error, 1)
	go func() { has <- unix.Flock(int(lock.Fd()), unix.LOCK_EX) }() // it waits until an old run gives it back
	for taken := false; !taken; {
		reloads := strings.Count(d.log.String(), "the configuration was reloaded")
		d.signal(syscall.SIGHUP)
		eventually(t, patience, "the lock, or a reload that was quicker", func() bool {
			select {
			case err := <-has:
				if err != nil {
					t.Fatal(err)
				}
				taken = true
			default:
			}
			return taken || strings.Count(d.log.String(), "the configuration was reloaded") > reloads
		})
	}
	d.says("a command has the conf file")
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	d.says("the configuration was reloaded")
	r.up("a", "10.0.0.2:80")
	r.inSync(want{"a": "10.0.0.1:80 10.0.0.2:80"})
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
}

// systemd is told what the daemon does, over the socket that it names.
func TestDaemonTellsSystemd(t *testing.T) {
	t.Parallel()
	r := newRig(t).configure()
	r.up("a", "10.0.0.1:80")
	path := filepath.Join(r.dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var heard []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, err := socket.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			heard = append(heard, string(b[:n]))
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	hears := func(pattern string, times int) {
		t.Helper()
		re := regexp.MustCompile(pattern)
		until(t, patience, func() string {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, m := range heard {
				if re.MatchString(m) {
					n++
				}
			}
			if n >= times {
				return ""
			}
			return fmt.Sprintf("%d of %d times %s: %q", n, times, pattern, heard)
		})
	}

	d := r.process([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=3000000"})
	hears(`^READY=1$`, 1)
	hears(`^STATUS=in sync: 1 upstreams, 1 servers, generation 1$`, 1)
	hears(`^WATCHDOG=1$`, 2)
	r.critical("a", "10.0.0.1:80")
	hears(`^STATUS=.*held: the registries list 0 services`, 1)
	r.up("a", "10.0.0.1:80")
	r.nginx[0].Close()
	r.up("a", "10.0.0.2:80")
	hears(`^STATUS=out of sync.*trouble with gw1`, 1)
	d.signal(syscall.SIGHUP)
	hears(`^RELOADING=1\nMONOTONIC_USEC=\d+\n?$`, 1)
	hears(`^READY=1$`, 2)
	d.end()
	hears(`^STOPPING=1$`, 1)
	if code := d.wait(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	if i, j := slices.Index(heard, "STOPPING=1"), len(heard)-1; i < j-1 {
		t.Errorf("after STOPPING came %q", heard[i+1:])
	}
}

// A restart on the same state makes not one POST and not one write.
func TestDaemonWarmRestartTouchesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"with the worker header", "without it"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.nginx[0].Close()
			s, err := dyupstest.New(dyupstest.Options{WorkerHeader: how == "with the worker header", ConfFile: r.conf})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			r.nginx[0] = s
			r.extra = "[upstream]\nkeepalive = 9\n"
			r.configure()
			r.put("b", instance{addr: "10.0.0.3:80", meta: map[string]string{"nginx-max-conns": "7", "nginx-weight": "3"}})
			r.put("b", instance{addr: "10.0.0.4:80", status: "critical"})
			r.up("c", many(30)...)
			r.baseline(want{"a": "10.0.0.1:80 10.0.0.2:80", "b": "10.0.0.3:80", "c": strings.Join(many(30), " ")})
			before := r.state()
			for range 2 {
				gets := r.nginx[0].Gets()
				d := r.daemon()
				d.says("left out") // the registry has answered
				d.says("is in sync")
				eventually(t, patience, "it is compared some times", func() bool { return r.nginx[0].Gets() >= gets+25 })
				if code := d.stop(); code != status.ExitInSync {
					t.Errorf("exit code %d", code)
				}
				r.same(before)
			}
			r.once().wants(t, status.ExitInSync)
			r.same(before)
		})
	}
}

// One gateway hangs and one is not there: the third gets changes at once.
func TestDaemonOneGatewayDelaysNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.addNginx(dyupstest.Options{})
	r.gateways = gatewayTable("gw1", r.nginx[0].API()) + gatewayTable("gw2", good.API())
	r.configure()
	r.baseline(want{"a": "10.0.0.1:80"}) // beside one that can't be asked nothing new is written
	r.gateways = patient(gatewayTable("gw1", r.nginx[0].API())) + gatewayTable("dead", "http://"+loopback.Refused(t)) + gatewayTable("gw2", good.API())
	r.configure()
	d := r.daemon()
	r.inSync(want{"a": "10.0.0.1:80"})
	r.nginx[0].Hang(true)
	addrs := many(5)
	for i := range addrs {
		r.up("a", addrs[i])
		r.inSync(want{"a": "10.0.0.1:80 " + strings.Join(addrs[:i+1], " ")}, good)
	}
	d.says("gateway=dead")
	r.nginx[0].Hang(false)
	r.inSync(want{"a": "10.0.0.1:80 " + strings.Join(addrs, " ")})
}

// A registry that does not answer keeps its part, also over a restart.
func TestDaemonSilentRegistryKeepsItsPart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.tapped(nil)
	// What is missing when a registry is back stays for the recovery, here a short one.
	r.extra = "[guard]\nrecovery = \"2s\"\n"
	r.registries = fmt.Sprintf("[[registry]]\nname = \"one\"\nwait = \"1s\"\naddress = %q\ninclude = [%q, %q]\n"+
		"[[registry]]\nname = \"two\"\nwait = \"1s\"\naddress = %q\ninclude = [%q]\n",
		first.addr, r.prefix+"one*", r.prefix+"both", r.consul, r.prefix+"two*")
	r.configure()
	r.up("one", "10.0.0.1:80", "10.0.0.2:80")
	r.up("one-more", "10.0.0.3:80")
	r.up("two", "10.0.0.4:80")
	all := want{"one": "10.0.0.1:80 10.0.0.2:80", "one-more": "10.0.0.3:80", "two": "10.0.0.4:80"}
	d := r.daemon()
	r.inSync(all)

	first.silence(true)
	r.gone("one", "10.0.0.1:80")
	r.up("two", "10.0.0.5:80")
	all["two"] = "10.0.0.4:80 10.0.0.5:80"
	r.inSync(all)
	d.stop()
	d = r.daemon()
	d.says("is in sync")
	r.up("two", "10.0.0.6:80")
	r.up("two-more", "10.0.0.7:80")
	all["two"], all["two-more"] = "10.0.0.4:80 10.0.0.5:80 10.0.0.6:80", "10.0.0.7:80"
	r.inSync(all)
	r.once().wants(t, status.ExitFailed, "process "+strconv.Itoa(os.Getpid())+" writes it already")
	d.stop()
	r.once("--timeout", "1s").wants(t, status.ExitFailed, "registry one gave no answer within 1s")
	r.inSync(all)

	r.daemon()
	first.silence(false)
	all["one"] = "10.0.0.2:80"
	r.inSync(all)
}
