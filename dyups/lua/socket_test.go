package lua_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"swallowkeeper/dyups"
	"swallowkeeper/upstream"
)

// TestSocket has the API on a unix socket, where a gateway keeps a connection to each worker all the
// same; and nginx killed, whose socket keeps the next one from starting until what
// scripts/nginx-dyups.conf says is done.
func TestSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "dyups.sock")
	n := start(t, options{http: "server { listen unix:" + socket + `; keepalive_timeout 1h;
		location / { add_header X-Dyups-Worker $pid always; content_by_lua_block { dyups_api.serve() } } }`})
	c := dyups.DefaultConfig()
	c.Address = "unix:" + socket
	over := &nginx{t: t, api: c.Address}
	want := upstream.NewSet([]upstream.Upstream{one("a", 1), one("b", 2)})
	g := gateway(t, over)
	converge(t, g, want)
	live, err := g.Live(t.Context())
	if c := upstream.Diff(live.Set, want); err != nil || !c.Empty() || len(live.Workers) != 4 {
		t.Errorf("%+v, workers %+v, %v", c, live.Workers, err)
	}
	holds(t, over, want)

	for _, pid := range append([]int{n.cmd.Process.Pid}, n.workers()...) { // the master first: it makes no new ones
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_ = n.cmd.Wait()
	bin, _ := binary(t)
	out, err := exec.Command(bin, "-p", n.dir, "-c", n.dir+"/nginx.conf", "-e", n.dir+"/error.log").CombinedOutput()
	if err == nil || !strings.Contains(n.log(), "Address already in use") {
		t.Fatalf("it should not start on the socket of a killed one: %v\n%s", err, out)
	}
	unit, err := os.ReadFile("../../scripts/nginx-dyups.conf")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ExecStartPre=-(.*) /run/dyups/dyups\.sock$`).FindSubmatch(unit)
	if m == nil {
		t.Fatalf("%s", unit)
	}
	command := append(strings.Fields(string(m[1])), socket)
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.run(bin)
	fresh := gateway(t, over)
	converge(t, fresh, want)
	if c := converge(t, fresh, want); !c.Empty() {
		t.Errorf("after the start: %s", fmt.Sprint(c))
	}
}
