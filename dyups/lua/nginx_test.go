package lua_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"swallowkeeper/dyups/lua"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/suite"
)

// nginx is a real one with the library, on loopback.
type nginx struct {
	t          testing.TB
	dir        string
	api, proxy string // http://host:port
	upstreams  string // the conf file
	cmd        *exec.Cmd
}

type options struct {
	workers   int    // 4 where it is 0
	upstreams string // what the conf file holds at the start
	dict      string
	http      string                   // more of the http block
	location  string                   // more of the traffic's location
	edit      func(conf string) string // changes dyups.conf
}

// nginxEnv names an nginx other than the one on the PATH, such as OpenResty's.
const nginxEnv = "NGINX_BIN"

// binary is nginx and what loads its Lua module, or the reason why there is none.
func binary(t testing.TB) (path, load string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no nginx is started")
	}
	path = os.Getenv(nginxEnv)
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		suite.Absent(t, "there is no nginx: install nginx and libnginx-mod-http-lua, or set "+nginxEnv)
	}
	out, err := exec.Command(path, "-V").CombinedOutput()
	if err != nil {
		t.Fatalf("%s -V: %v", path, err)
	}
	if strings.Contains(string(out), "ngx_lua") { // OpenResty has it within
		return path, ""
	}
	folder := "/usr/lib/nginx/modules"
	if m := regexp.MustCompile(`--modules-path=(\S+)`).FindSubmatch(out); m != nil {
		folder = string(m[1])
	}
	for _, name := range []string{"ndk_http_module.so", "ngx_http_lua_module.so"} {
		module := filepath.Join(folder, name)
		if _, err := os.Stat(module); err != nil {
			suite.Absent(t, fmt.Sprintf("nginx is there and its Lua module is not: install libnginx-mod-http-lua: %v", err))
		}
		load += "load_module " + module + ";\n"
	}
	return path, load
}

func start(t testing.TB, o options) *nginx {
	t.Helper()
	bin, load := binary(t)
	dir := t.TempDir()
	n := &nginx{t: t, dir: dir, upstreams: filepath.Join(dir, "upstreams.conf")}
	free := loopback.Free(t, 2)
	api, proxy := free[0], free[1]
	n.api, n.proxy = "http://"+api, "http://"+proxy
	c := lua.DefaultConfig()
	c.Dir, c.Listen, c.Upstreams = filepath.Join(dir, "dyups"), api, n.upstreams
	if o.dict != "" {
		c.Dict = o.dict
	}
	if _, err := lua.Install(c, false); err != nil {
		t.Fatal(err)
	}
	if o.edit != nil {
		path := filepath.Join(c.Dir, lua.HTTPInclude)
		n.write(path, o.edit(n.read(path)))
	}
	if o.workers == 0 {
		o.workers = 4
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the folder is the test's own
	}
	n.write(n.upstreams, o.upstreams)
	n.write(filepath.Join(dir, "nginx.conf"), strings.NewReplacer(
		"DIR", dir, "LOAD", load, "USER", user, "WORKERS", strconv.Itoa(o.workers), "PROXY", proxy,
		"HTTP", strings.NewReplacer("DIR", dir, "UPSTREAMS", n.upstreams).Replace(o.http), "LOCATION", o.location,
	).Replace(`LOAD
daemon off; USER
worker_processes WORKERS;
worker_rlimit_nofile 4096;
pid DIR/nginx.pid;
error_log DIR/error.log notice;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
	resolver 127.0.0.1:9; resolver_timeout 1s;
	keepalive_requests 100000000;
	include DIR/dyups/dyups.conf;
	HTTP
	server {
		listen PROXY;
		location / {
			set $dyups_upstream $host;
			include DIR/dyups/proxy.conf;
			add_header X-Proxy-Worker $pid always;
			add_header X-Upstream "$upstream_addr" always;
			LOCATION
		}
	}
}
`))
	n.run(bin)
	return n
}

func (n *nginx) run(bin string) {
	n.t.Helper()
	n.cmd = exec.Command(bin, "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", filepath.Join(n.dir, "error.log"))
	var out bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &out, &out
	if err := n.cmd.Start(); err != nil {
		n.t.Fatalf("start nginx: %v", err)
	}
	n.t.Cleanup(func() {
		_ = n.cmd.Process.Signal(syscall.SIGTERM)
		_ = n.cmd.Wait()
		log := n.log()
		for line := range strings.Lines(log) { // whatever else a test wants: no Lua error, no crash it did not make
			if strings.Contains(line, "lua entry thread aborted") || strings.Contains(line, "balancer_by_lua:") ||
				strings.Contains(line, "log_by_lua:") || strings.Contains(line, "signal 11") {
				n.t.Errorf("error log: %s", line)
			}
		}
		if n.t.Failed() {
			n.t.Logf("%serror log, its end:\n%s", out.String(), log[max(0, len(log)-3000):])
		}
	})
	eventually(n.t, "nginx listens", func() bool {
		resp, err := http.Get(n.api + "/list")
		return err == nil && resp.Body.Close() == nil
	})
}

func (n *nginx) read(path string) string {
	n.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

func (n *nginx) log() string {
	text, _ := os.ReadFile(filepath.Join(n.dir, "error.log"))
	return string(text)
}

func (n *nginx) write(path, text string) {
	n.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// workers lists the pids of the master's children.
func (n *nginx) workers() []int {
	n.t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", strconv.Itoa(n.cmd.Process.Pid)).Output()
	if err != nil && len(out) > 0 {
		n.t.Fatal(err)
	}
	var pids []int
	for f := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			n.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// reload returns when all workers are new.
func (n *nginx) reload() {
	n.t.Helper()
	old := n.workers()
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, "all workers are new", func() bool {
		now := n.workers()
		return len(now) == len(old) && !slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(old, pid) })
	})
}

// stop ends nginx and keeps its folder, so that it can run again.
func (n *nginx) stop() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
	_ = n.cmd.Wait()
}

// call is one call of the API.
func (n *nginx) call(method, path, body string) (int, string, http.Header) {
	n.t.Helper()
	var in io.Reader
	if method == http.MethodPost {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, n.api+path, in)
	if err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func (n *nginx) post(name, body string) {
	n.t.Helper()
	if status, text, h := n.call(http.MethodPost, "/upstream/"+name, body); status != 200 {
		n.t.Fatalf("POST %s: %d %q %s", name, status, text, h.Get("X-Dyups-Error"))
	}
}

// served is what one request of the traffic got.
type served struct {
	status int
	body   string
	tried  string // the addresses, in order
	err    error
}

func ask(client *http.Client, proxy, host, path string) served {
	req, err := http.NewRequest(http.MethodGet, proxy+path, nil)
	if err != nil {
		return served{err: err}
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return served{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return served{resp.StatusCode, string(text), resp.Header.Get("X-Upstream"), err}
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// servers spells a body of these servers, each with the same parameters.
func servers(addrs []string, params string) string {
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintf(&b, "server %s%s;\n", a, params)
	}
	return b.String()
}
