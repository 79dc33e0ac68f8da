//go:build linux

package walktest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/dockerdtest"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// ofDebian makes a machine where Debian's docker.io, etcd-server and nginx have just been installed: their files are in their
// places, and nobody else's processes are there. /var/run is a link to /run.
const ofDebian = `set -e
cp -a /etc/nginx "$1/nginx"
mount --bind "$1/nginx" /etc/nginx
for d in /run /var/lib /var/log; do mount -t tmpfs tmpfs $d; done
mkdir /var/lib/nginx /var/log/nginx
touch /run/docker.sock
mount --bind "$2" /run/docker.sock
cd "$3"
`

// TestPage types what docs/docker-etcd-nginx.md says, in a shell, and expects what it shows there. "…" stands for anything.
func TestPage(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx here: scripts/setup-tests.sh installs it on Debian")
	}
	if _, err := exec.LookPath("etcdctl"); err != nil {
		suite.Absent(t, "no etcdctl here: scripts/setup-tests.sh installs it on Debian")
	}
	text, err := os.ReadFile("../../docs/docker-etcd-nginx.md")
	if err != nil {
		t.Fatal(err)
	}
	d := dockerdtest.Start(t)
	d.Docker("tag", dockerdtest.App, "jmalloc/echo-server") // which answers with the name of its container, too
	s := newShell(t, d)

	typed := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for _, step := range regexp.MustCompile(`(?m)^\$ (.*)\n((?:[^$].*\n|\n)*)`).FindAllStringSubmatch(block[1], -1) {
			command, want := step[1], step[2]
			typed++
			switch {
			case strings.HasPrefix(command, "apt-get install "):
				s.types(etcdtestserver.Binary(t)+" --data-dir /var/lib/etcd 2>/var/log/etcd &", "")
				s.types(nginxtest.Nginx, "")
			case command == "make build", strings.HasPrefix(command, "install bin/swallowkeeper "): // done
			default:
				s.types(command, want)
			}
		}
	}
	if typed < 20 {
		t.Errorf("the page has %d commands", typed)
	}
}

// shell is a bash that is told one command after the other.
type shell struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

const prompt = "walked with"

func newShell(t *testing.T, d *dockerdtest.Daemon) *shell {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "swallowkeeper")
	build(t, bin)
	// What it starts is in its own space of processes and ends with it.
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	argv := dockerdtest.InMountedRoot("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-s", t.TempDir(), d.Socket, root)
	c := d.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"))
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	errs, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	c.Stderr = errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, in: in, lines: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text() + "\n"
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		for range s.lines { //nolint:revive // what was not read
		}
		<-read
		_ = c.Wait()
	})
	s.types(ofDebian+"set +e", "")
	t.Cleanup(func() {
		if t.Failed() {
			_, out := s.once("tail -n 30 " + log + " /var/log/*.log /var/log/nginx/error.log")
			t.Log(out)
		}
	})
	return s
}

// types types a command. What it prints has to become what is wanted; without that, it has to succeed.
func (s *shell) types(command, want string) {
	s.t.Helper()
	pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", "(?s:.*)") + "$")
	dockerdtest.Eventually(s.t, time.Minute, func() error {
		code, out := s.once(command)
		switch {
		case want == "" && code != "0":
			s.t.Fatalf("$ %s\n%sends with %s", command, out, code)
		case want != "" && !pattern.MatchString(out):
			return fmt.Errorf("$ %s\n%sand not\n%s", command, out, want)
		}
		s.t.Logf("$ %s\n%s", command, out)
		return nil
	})
}

// once runs it once.
func (s *shell) once(command string) (code, out string) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho %s $?\n", command, prompt); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(time.Minute)
	for {
		select {
		case line, open := <-s.lines:
			if !open {
				s.t.Fatalf("$ %s\n%sand the shell has ended", command, out)
			}
			if code, is := strings.CutPrefix(line, prompt+" "); is {
				return strings.TrimSpace(code), out
			}
			out += line
		case <-late:
			s.t.Fatalf("$ %s\n%sand it does not end", command, out)
		}
	}
}
