package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"swallowkeeper/dyups"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/persist"
	"swallowkeeper/status"
)

// ownTengine is a Tengine with a master, an upstream that its operator wrote by hand, and the conf file included.
type ownTengine struct {
	r                 *rig
	bin, dir, address string
	handmade          string
}

func newReal(t *testing.T) *ownTengine {
	t.Helper()
	bin := os.Getenv("TENGINE_BIN")
	if bin == "" {
		t.Skip("TENGINE_BIN does not name a Tengine binary")
	}
	r := newRig(t)
	n := &ownTengine{r: r, bin: bin, dir: filepath.Join(r.dir, "own tengine"), address: nginxtest.Free(t), handmade: r.prefix + "handmade"}
	if err := os.Mkdir(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]q; error_log %[2]q warn;
events {}
http {
	access_log off;
	upstream %[3]s { server 127.0.0.1:9; }
	include %[4]s/*.conf;
	server { listen %[5]s; location / { dyups_interface; add_header X-Dyups-Worker $pid always; } }
`, n.dir+"/pid", n.dir+"/error.log", n.handmade, filepath.Dir(r.conf), n.address)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += fmt.Sprintf("\t%s_temp_path %q;\n", kind, n.dir+"/"+kind)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "te.conf"), []byte(conf+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.gateways = gatewayTable("tengine", "http://"+n.address)
	r.configure()
	return n
}

// args name the configuration as an operator may: against the prefix.
func (n *ownTengine) args(more ...string) []string {
	return append([]string{"-p", n.dir, "-c", "te.conf"}, more...)
}

func (n *ownTengine) start() *os.Process {
	n.r.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(n.bin, n.args()...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		n.r.t.Fatal(err)
	}
	n.r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if n.r.t.Failed() {
			log, _ := os.ReadFile(n.dir + "/error.log")
			n.r.t.Logf("%s%.3000s", out.String(), log)
		}
	})
	return cmd.Process
}

// detail is what Tengine shows of an upstream now.
func (n *ownTengine) detail(name string) string {
	c := dyups.NewClient("http://" + n.address)
	defer c.HTTPClient.CloseIdleConnections()
	list, err := c.Upstream(n.r.t.Context(), name)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(list)
}

// stays checks that the operator's upstream is as it was, everywhere, and that nginx would start again.
func (n *ownTengine) stays() {
	t := n.r.t
	t.Helper()
	if got := n.detail(n.handmade); got != "[127.0.0.1:9]" {
		t.Errorf("the operator's upstream has %q", got)
	}
	gen := n.r.read()
	if _, written := gen.Set.Get(n.handmade); written {
		t.Error("the operator's upstream is in the conf file")
	}
	if out, err := exec.Command(n.bin, n.args("-t")...).CombinedOutput(); err != nil {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
}

// TestTheConfigurationThatNginxRunsWith: at a boot the daemon is up first, and nginx.conf is where nobody
// told it. The very first decision knows it all the same.
func TestTheConfigurationThatNginxRunsWith(t *testing.T) {
	t.Parallel()
	n := newReal(t)
	n.r.up("handmade", "10.0.0.1:80")
	n.r.up("web", "10.0.0.2:80")
	d := n.r.daemon()
	d.says("out of sync")
	n.start()
	until(t, patience, func() string {
		if got := n.detail(n.r.prefix + "web"); got != "[10.0.0.2:80]" {
			return "Tengine has of web " + got
		}
		return ""
	})
	n.stays()
	call(t, nil, "--config", n.r.toml, "explain", n.handmade).wants(t, status.ExitInSync,
		"nginx's configuration has an upstream of this name ("+n.dir+"/te.conf:5)")
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
}

func TestOnePassKnowsTheConfigurationThatNginxRunsWith(t *testing.T) {
	t.Parallel()
	n := newReal(t)
	n.start()
	until(t, patience, func() string {
		if got := n.detail(n.handmade); got != "[127.0.0.1:9]" {
			return got
		}
		return ""
	})
	n.r.up("handmade", "10.0.0.1:80")
	n.r.up("web", "10.0.0.2:80")
	n.r.once("--dry-run").wants(t, status.ExitOutOfSync, n.dir+"/te.conf:5")
	n.r.once().wants(t, status.ExitInSync, n.dir+"/te.conf:5")
	n.stays()
}

// TestNginxHangsAtTheStart: what an earlier generation wrote goes on, and the name of an upstream that
// nginx could not tell is not taken.
func TestNginxHangsAtTheStart(t *testing.T) {
	t.Parallel()
	n := newReal(t)
	n.r.up("web", "10.0.0.2:80")
	p := n.start()
	until(t, patience, func() string {
		if got := n.detail(n.handmade); got != "[127.0.0.1:9]" {
			return got
		}
		return ""
	})
	n.r.once().wants(t, status.ExitInSync)
	if gen := n.r.read(); gen.Set.Len() != 1 {
		t.Fatalf("generation %d has %d upstreams", gen.Number, gen.Set.Len())
	}
	workers := childrenOf(t, p.Pid)
	stopped := append(workers, p.Pid)
	send := func(s syscall.Signal) {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, s)
		}
	}
	t.Cleanup(func() { send(syscall.SIGCONT) })
	send(syscall.SIGSTOP)
	n.r.up("handmade", "10.0.0.1:80")
	d := n.r.daemon()
	d.says(notAsked)
	n.r.up("web", "10.0.0.3:80")
	until(t, patience, func() string {
		gen, _, err := persist.Read(n.r.conf)
		if u, _ := gen.Set.Get(n.r.prefix + "web"); err != nil || len(u.Servers) != 2 {
			return fmt.Sprintf("web in the file: %v, %v", u.Servers, err)
		}
		return ""
	})
	send(syscall.SIGCONT)
	until(t, patience, func() string {
		if got := n.detail(n.r.prefix + "web"); got != "[10.0.0.2:80 10.0.0.3:80]" {
			return "Tengine has of web " + got
		}
		return ""
	})
	n.stays()
	if code := d.stop(); code != status.ExitInSync {
		t.Errorf("exit code %d", code)
	}
}

const notAsked = "gateway tengine has not been asked since the start"

func childrenOf(t *testing.T, pid int) (list []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(text)) {
		var n int
		if _, err := fmt.Sscan(word, &n); err != nil {
			t.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}
