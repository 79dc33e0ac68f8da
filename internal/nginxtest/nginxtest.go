// Package nginxtest runs a real nginx on loopback, in a folder of the test.
package nginxtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
)

// Debian's paths of nginx and its Lua module.
const (
	Nginx = "/usr/sbin/nginx"
	Lua   = "/usr/lib/nginx/modules/ngx_http_lua_module.so"
)

// Programs returns the nginx and Tengine of this machine by name. TENGINE_BIN is the path of Tengine.
func Programs() map[string]string {
	found := map[string]string{}
	if Exists(Nginx) {
		found["nginx"] = Nginx
	}
	if tengine := os.Getenv("TENGINE_BIN"); tengine != "" {
		found["Tengine"] = tengine
	}
	return found
}

// Exists reports whether the file exists.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Free returns a reserved address without a listener.
func Free(t testing.TB) string {
	t.Helper()
	return loopback.Free(t, 1)[0]
}

// Start runs the program with main and http as parts of its configuration until the test ends. It returns once the
// address accepts connections. DIR in the parts stands for the folder.
func Start(t testing.TB, program, dir, main, http, address string) {
	t.Helper()
	start(t, program, dir, "master_process off;\n"+main, http, address)
}

// StartMaster is Start with a master and workers, for tests that reload. It returns the master's process ID.
func StartMaster(t testing.TB, program, dir, main, http, address string) (master int) {
	t.Helper()
	return start(t, program, dir, main, http, address)
}

func start(t testing.TB, program, dir, main, http, address string) int {
	t.Helper()
	conf := "daemon off; pid DIR/pid; error_log DIR/error.log info;\n" + main +
		"\nevents {}\nhttp { access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		conf += kind + "_temp_path DIR/" + kind + ";\n"
	}
	conf = strings.ReplaceAll(conf+http+"\n}\n", "DIR", dir)
	if err := os.WriteFile(dir+"/nginx.conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &bytes.Buffer{}
	cmd := exec.Command(program, "-p", dir, "-c", dir+"/nginx.conf", "-e", dir+"/error.log") //nolint:gosec,noctx // it is ended below
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its workers end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the master and its workers
		<-ended                                             //nolint:errcheck // it was killed
	})
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	limit := time.After(30 * time.Second)
	for {
		select {
		case err := <-ended:
			ended <- err
			log, _ := os.ReadFile(dir + "/error.log")
			t.Fatalf("%s ended: %v %s%s", program, err, out, log)
		case <-limit:
			t.Fatalf("%s does not listen at %s", program, address)
		case <-again.C:
			if !Exists(dir + "/pid") { // it is written after all addresses were bound
				continue
			}
			if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
				c.Close()
				return cmd.Process.Pid
			}
		}
	}
}
