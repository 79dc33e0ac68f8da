package bench

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/dyups/lua"
	"swallowkeeper/internal/nginxtest"
)

// gateway has four workers: the Tengine that TENGINE_BIN names, else Debian's nginx with the Lua library, else the double of
// dyups.
type gateway struct {
	dir        string // its folder
	binary     string // "" for the double
	api, proxy string // host:port
	upstreams  string // the folder whose *.conf it includes
	traffic    crew
	interfaces crew
	cmd        *exec.Cmd
}

// program is what runs as the gateway: "" is the double.
func gatewayProgram() string {
	if tengine := os.Getenv("TENGINE_BIN"); tengine != "" {
		return tengine
	}
	if nginxtest.Exists(nginxtest.Nginx) && nginxtest.Exists(nginxtest.Lua) {
		return nginxtest.Nginx
	}
	return ""
}

// gatewayName says what the figures were measured with.
func gatewayName() string {
	binary := gatewayProgram()
	if binary == "" {
		return "the double of dyups, for there is no Tengine (TENGINE_BIN), and no nginx with its Lua module"
	}
	out, err := exec.Command(binary, "-v").CombinedOutput()
	if err != nil {
		return err.Error()
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(string(out), "Tengine version: "), "\n")
	if binary == nginxtest.Nginx {
		name += " with the Lua library, for there is no Tengine (TENGINE_BIN)"
	}
	return name
}

func newGateway(b *testing.B) *gateway {
	b.Helper()
	g := &gateway{dir: b.TempDir(), binary: gatewayProgram()}
	g.upstreams = filepath.Join(g.dir, "upstreams")
	if err := os.Mkdir(g.upstreams, 0o755); err != nil { //nolint:gosec // nginx reads it
		b.Fatal(err)
	}
	if g.binary == "" {
		g.startDouble(b)
	} else {
		g.start(b)
	}
	g.traffic = crew{address: g.proxy, path: "/"}
	g.interfaces = crew{address: g.api, path: "/upstream/nobody"}
	b.Cleanup(func() { g.traffic.hangUp(); g.interfaces.hangUp() })
	for _, c := range []*crew{&g.traffic, &g.interfaces} {
		if err := c.dial(time.Now().Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
	return g
}

// Any name but an upstream's would be asked of the machine's resolver: nobody is one.
const tengineInterface = `
	upstream nobody { server 127.0.0.1:9 down; }
	include DIR/upstreams/*.conf;
	server {
		listen API;
		access_log DIR/writes.log writes if=$writes;
		location / { dyups_interface; }
	}
`

// installLua puts the library beside nginx.conf, and returns what goes in there.
func (g *gateway) installLua(b *testing.B) (load, interfaces, pass string) {
	b.Helper()
	c := lua.DefaultConfig()
	c.Dir, c.Listen, c.Upstreams = filepath.Join(g.dir, "dyups"), g.api, filepath.Join(g.upstreams, "upstreams.conf")
	if _, err := lua.Install(c, false); err != nil {
		b.Fatal(err)
	}
	include := filepath.Join(c.Dir, lua.HTTPInclude)
	text, err := os.ReadFile(include)
	if err != nil {
		b.Fatal(err)
	}
	logged := strings.Replace(string(text), "access_log off;", "access_log "+g.dir+"/writes.log writes if=$writes;", 1)
	if err := os.WriteFile(include, []byte(logged), 0o600); err != nil {
		b.Fatal(err)
	}
	modules := filepath.Dir(nginxtest.Lua)
	return fmt.Sprintf("user root;\nload_module %s/ndk_http_module.so;\nload_module %s;", modules, nginxtest.Lua),
		"include " + include + ";",
		fmt.Sprintf("set $dyups_upstream $host; include %s/%s;", c.Dir, lua.LocationInclude)
}

func (g *gateway) start(b *testing.B) {
	b.Helper()
	g.api, g.proxy = nginxtest.Free(b), nginxtest.Free(b)
	load, interfaces, pass := "", tengineInterface, `set $upstream $host; proxy_pass http://$upstream; proxy_http_version 1.1; proxy_set_header Connection "";`
	if g.binary == nginxtest.Nginx {
		load, interfaces, pass = g.installLua(b)
	}
	names := strings.NewReplacer("DIR", g.dir, "API", g.api, "PROXY", g.proxy, "WORKERS", fmt.Sprint(workers), "HEADER", workerHeader)
	conf := names.Replace(strings.NewReplacer("LOAD", load, "INTERFACE", interfaces, "PASS", pass).Replace(`
LOAD
daemon off;
worker_processes WORKERS;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events { worker_connections 1024; }
http {
	log_format writes "$request_method $uri $status";
	map $request_method $writes { default 0; POST 1; DELETE 1; }
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	resolver 127.0.0.1:9 valid=1s;
	keepalive_timeout 1h;
	keepalive_requests 1000000000;
	add_header HEADER $pid always;
	INTERFACE
	server {
		listen PROXY;
		location = / {
			PASS
			proxy_connect_timeout 1s;
		}
	}
}
`))
	if err := os.WriteFile(g.conf(), []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	g.cmd = exec.Command(g.binary, "-p", g.dir, "-c", g.conf(), "-e", filepath.Join(g.dir, "error.log"))
	g.cmd.Stderr = os.Stderr
	g.cmd.SysProcAttr = endWithUs()
	if err := g.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = g.cmd.Process.Signal(syscall.SIGTERM)
		_ = g.cmd.Wait()
	})
}

func (g *gateway) conf() string { return filepath.Join(g.dir, "nginx.conf") }

func (g *gateway) startDouble(b *testing.B) {
	b.Helper()
	double, err := dyupstest.New(dyupstest.Options{Workers: workers, WorkerHeader: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(double.Close)
	g.api, g.proxy = strings.TrimPrefix(double.API(), "http://"), strings.TrimPrefix(double.Proxy(), "http://")
}

// serving is how many workers send a service's requests to a server.
func (g *gateway) serving(service string, server int) int {
	want := fmt.Sprint(server)
	return g.traffic.all(http.MethodGet, service, "/", func(_ int, body string) bool { return body == want })
}

// listed reports whether every worker knows as many upstreams.
func (g *gateway) listed(count int) bool {
	return g.interfaces.all(http.MethodGet, "api", "/list", func(_ int, body string) bool {
		return strings.Count(body, "\n") >= count
	}) == workers
}

// differs says how the copy of a worker differs from what is wanted, "" where none does.
func (g *gateway) differs(want map[string]map[string]bool) string {
	why := "a worker was not reached"
	if n := g.interfaces.all(http.MethodGet, "api", "/detail", func(_ int, body string) bool {
		why = compare(body, want)
		return why == ""
	}); n == workers {
		return ""
	}
	return why
}

// compare reads an answer to /detail: blocks of a name and lines of servers.
func compare(detail string, want map[string]map[string]bool) string {
	seen := 0
	for block := range strings.SplitSeq(strings.TrimSpace(detail), "\n\n") {
		name, servers, _ := strings.Cut(block, "\n")
		wanted, ok := want[name]
		if !ok {
			continue // nginx's own, or the floor's
		}
		seen++
		count := 0
		for line := range strings.Lines(servers) {
			fields := strings.Fields(line)
			if len(fields) < 2 || !wanted[fields[1]] {
				return fmt.Sprintf("%s has %q, want %v", name, line, wanted)
			}
			count++
		}
		if count != len(wanted) {
			return fmt.Sprintf("%s has %d servers, want %d", name, count, len(wanted))
		}
	}
	if seen != len(want) {
		return fmt.Sprintf("%d of %d upstreams are there", seen, len(want))
	}
	return ""
}

// writes is how many POSTs and DELETEs there were. The double does not count them.
func (g *gateway) writes() int {
	text, err := os.ReadFile(filepath.Join(g.dir, "writes.log"))
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n")
}
