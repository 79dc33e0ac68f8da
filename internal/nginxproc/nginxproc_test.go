package nginxproc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/nginxtest"
)

const (
	worker = 812
	master = 811
	ours   = 990
)

// made is a process table with one nginx.
type made struct {
	title, worker      string // of the master and of the worker; title alone changes in most tests
	uid, nspid, parent string
	cwd, program       string // what master's links lead to, "" for none that we may read
}

func (m made) table(t *testing.T) Table {
	t.Helper()
	root := t.TempDir()
	write := func(pid int, name, text string) {
		dir := filepath.Join(root, strconv.Itoa(pid))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(worker, "cmdline", m.worker)
	write(worker, "status", "Name:\tnginx\nPPid:\t"+m.parent+"\nUid:\t33\t33\t33\t33\nNSpid:\t"+m.nspid+"\n")
	write(master, "cmdline", m.title)
	write(master, "status", "Name:\tnginx\nPPid:\t1\nUid:\t"+m.uid+"\n")
	for name, to := range map[string]string{"cwd": m.cwd, "exe": m.program} {
		if to == "" {
			continue
		}
		if err := os.Symlink(to, filepath.Join(root, strconv.Itoa(master), name)); err != nil {
			t.Fatal(err)
		}
	}
	return Table{Root: root, Account: ours}
}

func TestConf(t *testing.T) {
	dir := t.TempDir()
	program := func(name, built string) string {
		path := filepath.Join(dir, name)
		text := strings.Repeat("x", 4*longest-7) + built + "\n\x00" + strings.Repeat("y", longest)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	help := func(prefix, conf string) string {
		return "  -p prefix     : set prefix path (default: " + prefix + ")\n  -e filename   : set error log file\n" +
			"  -c filename   : set configuration file (default: " + conf + ")\n"
	}
	debian := program("debian", help("/usr/share/nginx/", "/etc/nginx/nginx.conf"))
	tengine := program("tengine", help("/opt/te/", "conf/tengine.conf"))
	bare := program("bare", help("NONE", "conf/nginx.conf"))
	mute := program("mute", "")
	const hidden = ""
	for _, c := range []struct {
		name, line, program, cwd, want string
	}{
		{"named", "nginx -p /opt/te -c /etc/te.conf -g daemon off;", hidden, hidden, "/etc/te.conf"},
		{"against the prefix", "nginx -p /opt/te/ -c conf/my.conf", hidden, hidden, "/opt/te/conf/my.conf"},
		{"in one word", "nginx -qc/etc/te.conf -p/opt/te", hidden, hidden, "/etc/te.conf"},
		{"with spaces", "/opt/my te/nginx -p /opt/my te -c my own.conf -e stderr", hidden, hidden, "/opt/my te/my own.conf"},
		{"the last one counts", "nginx -c /a -c /b", hidden, hidden, "/b"},
		{"a prefix against the folder of the start", "nginx -p te -c x.conf", hidden, "/srv", "/srv/te/x.conf"},
		{"that folder is not known", "nginx -p te -c x.conf", hidden, hidden, ""},
		{"as it was built", "nginx -g daemon on; master_process on;", debian, hidden, "/etc/nginx/nginx.conf"},
		{"as it was built, with a prefix", "nginx -p /srv", debian, hidden, "/etc/nginx/nginx.conf"},
		{"relative, as it was built", "nginx -c x.conf", debian, hidden, "/usr/share/nginx/x.conf"},
		{"a prefix of the build", "nginx", tengine, hidden, "/opt/te/conf/tengine.conf"},
		{"a prefix in place of the build's", "nginx -p /srv", tengine, hidden, "/srv/conf/tengine.conf"},
		{"built without a prefix", "nginx", bare, hidden, ""},
		{"the program of the title", tengine + " -g daemon off;", hidden, hidden, "/opt/te/conf/tengine.conf"},
		{"a program that says nothing", "nginx", mute, hidden, ""},
		{"a program that is not known", "nginx", hidden, hidden, ""},
		{"a title that was cut", "nginx -p", hidden, hidden, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := plain
			m.title, m.program, m.cwd = masterTitle+c.line+"\x00\x00", c.program, c.cwd
			if got, err := m.table(t).Conf(worker); got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// plain is an nginx as it is.
var plain = made{
	title: masterTitle + "nginx -c /etc/te.conf\x00", worker: workerTitle + "\x00\x00\x00", uid: "0\t0\t0\t0",
	nspid: "812", parent: "811",
}

func TestWhatIsNoNginxOfOurs(t *testing.T) {
	for name, change := range map[string]func(*made){
		"another program with that number":           func(m *made) { m.worker = "sleep\x00100\x00" },
		"a worker's child, or one whose master died": func(m *made) { m.parent = "1" },
		"no parent":                            func(m *made) { m.parent = "" },
		"in a container":                       func(m *made) { m.nspid = "812\t7" },
		"another program as its parent":        func(m *made) { m.title = "/bin/sh\x00" },
		"a parent that was given the name":     func(m *made) { m.title = masterTitle + "nginx -c /evil\x00id\x00" },
		"another account's":                    func(m *made) { m.uid = "1000\t1000\t1000\t1000" },
		"a program that root lends its rights": func(m *made) { m.uid = "1000\t0\t0\t0" },
		"no account":                           func(m *made) { m.uid = "" },
	} {
		t.Run(name, func(t *testing.T) {
			m := plain
			change(&m)
			if got, err := m.table(t).Conf(worker); err == nil {
				t.Errorf("found %s", got)
			}
		})
	}
	for name, change := range map[string]func(*made){
		"as it is":                 func(*made) {},
		"of our own account":       func(m *made) { m.uid = "990\t990\t990\t990" },
		"that ends after a reload": func(m *made) { m.worker = workerTitle + " is shutting down\x00" },
		"an old kernel":            func(m *made) { m.nspid = "" },
	} {
		t.Run(name, func(t *testing.T) {
			m := plain
			change(&m)
			if got, err := m.table(t).Conf(worker); err != nil || got != "/etc/te.conf" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	if got, err := plain.table(t).Conf(5); err == nil {
		t.Errorf("nobody has that number: found %s", got)
	}
}

// TestRealNginx: what the real ones show, and how they say they were built.
func TestRealNginx(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Skip("this system shows no processes")
	}
	for name, program := range nginxtest.Programs() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "an nginx")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			conf := "daemon off; worker_processes 2; pid pid; error_log error.log; events {}\n"
			if err := os.WriteFile(dir+"/its own.conf", []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(program, "-p", "an nginx", "-c", "its own.conf", "-e", dir+"/error.log", "-g", "worker_rlimit_nofile 64;")
			cmd.Dir = filepath.Dir(dir)
			cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
			})
			late, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
			defer tick.Stop()
			pid := strconv.Itoa(cmd.Process.Pid)
			for {
				children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
				if list := strings.Fields(string(children)); len(list) == 2 {
					one, err := strconv.Atoi(list[0])
					if err != nil {
						t.Fatal(err)
					}
					got, err := System().Conf(one)
					if err == nil {
						if got != dir+"/its own.conf" {
							t.Errorf("found %s", got)
						}
						break
					}
				}
				select {
				case <-late:
					log, _ := os.ReadFile(dir + "/error.log")
					t.Fatalf("no worker leads to it: %s", log)
				case <-tick.C:
				}
			}

			f, err := os.Open(program)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			built, err := builtInto(f)
			said, _ := exec.Command(program, "-h").CombinedOutput()
			if err != nil || !strings.Contains(string(said), prefixMark+built.prefix+")") ||
				!strings.Contains(string(said), confMark+built.conf+")") {
				t.Errorf("built as %+v, %v; it says\n%s", built, err, said)
			}
		})
	}
}
