// Package nginxtest runs a real nginx, on loopback and below a folder of the test's.
package nginxtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nginx is where Debian has nginx, and Lua its module for Lua.
const (
	Nginx = "/usr/sbin/nginx"
	Lua   = "/usr/lib/nginx/modules/ngx_http_lua_module.so"
)

// Programs are the nginx and the Tengine of this machine, by name. Tengine is where TENGINE_BIN
// says.
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

// Exists reports whether there is such a file.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// given holds the addresses that Free returned: tests that run beside one another must not share one.
var given sync.Map

// Free returns an address on which nothing listened a moment ago, and never the same twice.
func Free(t testing.TB) string {
	t.Helper()
	for {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, taken := given.LoadOrStore(l.Addr().String(), true); !taken {
			return l.Addr().String()
		}
	}
}

// Start runs the program with what stands in main and http until the test ends, and returns
// when the address is listened at. DIR in them is the folder.
func Start(t testing.TB, program, dir, main, http, address string) {
	t.Helper()
	conf := "daemon off; master_process off; pid DIR/pid; error_log DIR/error.log info;\n" + main +
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
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended //nolint:errcheck // it was killed
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
				return
			}
		}
	}
}
