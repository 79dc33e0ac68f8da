package imagetest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// mostBytes is what the image may take, of which the official Debian is 75 MB.
	mostBytes = 170_000_000

	version = "VERSION=v0.0.0-image"
)

func TestImage(t *testing.T) {
	e := theEngine(t)
	debian := e.bases(t)
	i := images{gateway: "swallowkeeper-test", consul: "swallowkeeper-test-consul"}
	e.build(t, i.gateway, "--file", "demo/Dockerfile", "--build-arg", version, ".")
	e.buildConsul(t, debian, i.consul)

	for _, test := range []struct {
		name string
		run  func(*yard)
	}{
		{"Contents", contents},
		{"Environment", environment},
		{"Walk", walk},
		{"Hosts", hosts},
		{"Outage", outage},
		{"Stop", stop},
		{"Crash", crash},
		{"Compose", compose},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newYard(t, e, i)) })
	}
	t.Run("Context", func(t *testing.T) { inDemo(t, e, i) })
	t.Run("Tengine", func(t *testing.T) {
		i := i
		i.gateway = tengine(t, e, debian)
		walk(newYard(t, e, i))
		t.Run("Stop", func(t *testing.T) { stop(newYard(t, e, i)) })
	})
}

// contents looks at what is in the image, and what is not.
func contents(y *yard) {
	size, err := strconv.Atoi(y.docker(y.t, "image", "inspect", "--format", "{{.Size}}", y.gateway))
	if err != nil || size > mostBytes {
		y.t.Errorf("%d bytes, allowed are %d (%v)", size, mostBytes, err)
	}
	y.t.Logf("the image has %d MB", size/1_000_000)
	out := y.docker(y.t, "run", "--rm", "--network", "none", y.gateway, "bash", "-c", `
		for tool in go gcc cc make git curl; do type -P "$tool" && echo "a tool that does not belong here"; done
		ls -A /var/lib/apt/lists /var/cache/apt /tmp
		find / -xdev -perm /6000 -user swallowkeeper
		find /etc /usr /var -xdev -writable -not -type l -not -path '/var/lib/swallowkeeper*' -not -path '/var/tmp' \
			-not -path '/var/lock' 2>/dev/null
		id -u; swallowkeeper version; nginx -v 2>&1`)
	lines := strings.Split(out, "\n")
	want := []string{"/tmp:", "", "/var/cache/apt:", "", "/var/lib/apt/lists:", "10001", "swallowkeeper v0.0.0-image"}
	for n, line := range want {
		if n >= len(lines) || !strings.HasPrefix(lines[n], line) {
			y.t.Fatalf("in the image:\n%s\nwant:\n%s", out, strings.Join(want, "\n"))
		}
	}
}

// environment has every key come from the environment, and Consul's own.
func environment(y *yard) {
	out, err := y.try(y.t.Context(), limit, "run", "--rm", "--network", "none", "--env", "CONSUL_HTTP_ADDR=127.0.0.1:1",
		"--env", "SWALLOWKEEPER_GUARD_MAX_REMOVAL=0.25", "--env", "SWALLOWKEEPER_REGISTRY_EXCLUDE=consul,vault",
		"--env", "SWALLOWKEEPER_UPSTREAM_KEEPALIVE=7", y.gateway, "swallowkeeper", "check", "--timeout", "1s")
	for _, want := range []string{
		"min_services = 1", `address = "unix:/tmp/dyups/api.sock"`, "max_removal = 0.25", `["consul", "vault"]`, "keepalive = 7", "127.0.0.1:1",
		`path = "/var/lib/swallowkeeper/dyups.upstream.conf"`, "not written yet", // its folder can be written
	} {
		if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), want) {
			y.t.Errorf("%s\n%v\nwant %q in it", out, err, want)
		}
	}
}

// walk is the walk of the original's demo.
func walk(y *yard) {
	y.runConsul()
	y.runGateway()
	first, second := y.runServer("first"), y.runServer("second")
	y.shows("nothing")

	y.register("test", "1234", first)
	y.shows("test", first)
	y.answers("test", "hello from first")
	y.register("test", "5678", second)
	y.shows("test", first, second)

	// What 8081 shows it does not change, and other names lead nowhere.
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		request, err := http.NewRequestWithContext(y.t.Context(), method, y.url("gateway", "8081")+"/upstream/test", strings.NewReader("server 10.0.0.1:80;"))
		if err != nil {
			y.t.Fatal(err)
		}
		if status, _ := y.do(request); status != http.StatusForbidden {
			y.t.Errorf("%s to 8081: %d", method, status)
		}
	}
	for host, want := range map[string]int{
		"nope": http.StatusBadGateway, "localhost:18882": http.StatusBadGateway, // names that may come
		first + ":8000": http.StatusNotFound, "[::1]:8081": http.StatusNotFound, "127.0.0.1:18882": http.StatusNotFound,
	} {
		if status, body := y.get(y.url("gateway", "80")+"/list", host); status != want {
			y.t.Errorf("host %s: %d %s", host, status, body)
		}
	}

	y.put("/v1/agent/service/deregister/5678", "")
	y.shows("test", first)
	// The last service does not go by itself: that is what an empty registry looks like.
	y.put("/v1/agent/service/deregister/1234", "")
	var hold []string // the log tells of another one, from before the first registration
	y.eventually("status names a hold", func() bool {
		hold = regexp.MustCompile(`swallowkeeper approve (\S+)`).FindStringSubmatch(y.status())
		return hold != nil
	})
	y.shows("test", first)
	y.answers("test", "hello from first")
	y.docker(y.t, "exec", y.of("gateway"), "swallowkeeper", "approve", hold[1])
	y.shows("nothing")
	if status, body := y.get(y.url("gateway", "80"), "test"); status != http.StatusBadGateway {
		y.t.Errorf("deregistered: %d %s", status, body)
	}
	y.eventually("the container is healthy", func() bool { return y.health() == "healthy" })
}

// hosts has no Host header reach a service that GATEWAY_HOSTS does not list.
func hosts(y *yard) {
	y.runConsul()
	y.runGateway("--env", "GATEWAY_HOSTS=www.example.com=test *.example.org=test")
	y.says("GATEWAY_HOSTS: *.example.org=test: a word is", 1)
	y.docker(y.t, "rm", "--force", y.of("gateway"))
	for _, row := range []struct {
		hosts       string
		reach, miss []string
	}{
		{"", nil, []string{"test", "www.example.com", "nope"}},
		{"www.example.com=test test2", []string{"www.example.com"}, []string{"test", "nope", "example.com"}},
		{"test", []string{"test", "TEST:80"}, []string{"nope", "www.example.com"}},
	} {
		y.runGateway("--env", "GATEWAY_HOSTS="+row.hosts)
		ip := y.runServer("only")
		y.register("test", "1", ip)
		y.shows("test", ip)
		for _, host := range row.reach {
			y.answers(host, "hello from only")
		}
		for _, host := range row.miss {
			if status, body := y.get(y.url("gateway", "80"), host); status != http.StatusNotFound || !strings.Contains(body, "GATEWAY_HOSTS") {
				y.t.Errorf("%q: host %s: %d %s", row.hosts, host, status, body)
			}
		}
		if log := y.log("gateway"); strings.Contains(log, "[error]") {
			y.t.Errorf("the log:\n%s", log)
		}
		y.docker(y.t, "rm", "--force", y.of("gateway"), y.of("only"))
	}
}

// outage kills Consul, restarts the gateway, makes a new one, and brings back a Consul that
// has forgotten everything.
func outage(y *yard) {
	volume := y.of("upstreams")
	y.later(y.t, "volume", "rm", volume)
	options := []string{"--volume", volume + ":/var/lib/swallowkeeper"}
	y.runConsul()
	y.runGateway(options...)
	ip := y.runServer("only")
	y.register("test", "1", ip)
	y.shows("test", ip)

	tr := y.traffic("test")
	tr.more(y, 100)
	y.docker(y.t, "rm", "--force", "--volumes", y.of("consul"))
	y.says("what is not known stays as it is", 1)
	tr.more(y, 300)
	tr.faultless(y)

	y.docker(y.t, "restart", y.of("gateway"))
	y.shows("test", ip)
	y.answers("test", "hello from only")
	y.eventually("healthy without Consul", func() bool { return y.health() == "healthy" })

	y.docker(y.t, "kill", y.of("gateway"))
	y.docker(y.t, "rm", y.of("gateway"))
	y.runGateway(options...)
	y.shows("test", ip)
	y.answers("test", "hello from only")

	y.runConsul()
	y.says("held", 1)
	y.shows("test", ip)
	y.answers("test", "hello from only")
	y.register("test", "1", ip)
	y.says("the hold has ended", 1)
}

// stop ends the container while requests are under way.
func stop(y *yard) {
	y.runConsul()
	y.runGateway()
	ip := y.runServer("slow")
	y.register("test", "1", ip)
	y.shows("test", ip)

	const n = 20
	url := y.url("gateway", "80") + "/slow"
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if status, body := y.get(url, "test"); status != http.StatusOK || body != "hello from slow" {
				y.t.Errorf("under way: %d %q", status, body)
			}
		})
	}
	y.eventually("all requests are under way", func() bool {
		_, waiting := y.get("http://"+ip+":8000/waiting", "")
		return waiting == strconv.Itoa(n)
	})
	began := time.Now()
	y.docker(y.t, "stop", "-t", "30", y.of("gateway"))
	took := time.Since(began)
	wg.Wait()
	if took > 20*time.Second {
		y.t.Errorf("the stop took %s", took)
	}
	if code := y.docker(y.t, "inspect", "--format", "{{.State.ExitCode}}", y.of("gateway")); code != "0" {
		y.t.Errorf("exit code %s", code)
	}
	log := y.log("gateway")
	for _, want := range []string{"swallowkeeper ends", "stopped: swallowkeeper (exit status 0)", "stopped: nginx (exit status 0)", `"GET /slow HTTP/1.1" 200`} {
		if !strings.Contains(log, want) {
			y.t.Errorf("the log lacks %q", want)
		}
	}
}

// crash kills swallowkeeper and nginx's workers: both come back, and nothing is lost.
func crash(y *yard) {
	y.runConsul()
	y.runGateway()
	ip := y.runServer("only")
	y.register("test", "1", ip)
	y.shows("test", ip)
	tr := y.traffic("test")

	// Until then, supervisord tries again whatever autorestart says.
	y.says("entered RUNNING state", 2)
	first := y.pid()
	y.docker(y.t, "exec", y.of("gateway"), "bash", "-c", "kill -9 "+first)
	y.says("swallowkeeper starts", 2)
	y.says(`the gateway is in sync" gateway="unix:/tmp/dyups/api.sock" generation=1`, 1)
	tr.more(y, 50)
	tr.faultless(y)

	y.docker(y.t, "exec", y.of("gateway"), "bash", "-c", `
		for p in /proc/[0-9]*; do [[ $(tr '\0' ' ' <$p/cmdline) == "nginx: worker"* ]] && kill -9 ${p#/proc/}; done; true`)
	y.shows("test", ip)
	y.eventually("the new workers answer", func() bool {
		status, _ := y.get(y.url("gateway", "80"), "test")
		return status == http.StatusOK
	})

	// Where its configuration is wrong the traffic goes on, and docker says that something is.
	y.docker(y.t, "rm", "--force", y.of("gateway"))
	y.runGateway("--env", "SWALLOWKEEPER_GUARD_MIN_SERVICE=1")
	y.says("did you mean", 2)
	y.eventually("unhealthy", func() bool { return y.health() == "unhealthy" })
}

// inDemo builds the image with demo/ as the context, from the binary that make build puts there.
func inDemo(t *testing.T, e *engine, i images) {
	here := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "cp", "-R", filepath.Join(root, "demo"), here).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bin := filepath.Join(here, "demo", "bin")
	if err := os.RemoveAll(bin); err != nil {
		t.Fatal(err)
	}
	if _, err := e.try(t.Context(), patience, "build", filepath.Join(here, "demo")); err == nil || !strings.Contains(err.Error(), "run make build on Linux first") {
		t.Errorf("without a binary: %v", err)
	}
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// What make build makes, taken from the image that was built from the source.
	binary := e.docker(t, "create", i.gateway)
	e.later(t, "rm", binary)
	e.docker(t, "cp", binary+":/usr/local/bin/swallowkeeper", bin)
	const name = "swallowkeeper-test-context"
	e.build(t, name, filepath.Join(here, "demo"))
	i.gateway = name
	y := newYard(t, e, i)
	contents(y)
	stop(y)
}

// compose brings all of demo/compose.yaml up and down.
func compose(y *yard) {
	tool := []string{"docker", "compose"}
	if err := y.command(y.t.Context(), "docker", "compose", "version").Run(); err != nil {
		tool = []string{"docker-compose"}
	}
	project := strings.ToLower(y.name)
	call := func(args ...string) {
		y.t.Helper()
		c := y.command(y.t.Context(), tool[0], append(append(tool[1:], "--project-name", project, "--file", "demo/compose.yaml"), args...)...)
		// Port 0 is any that is free.
		c.Env = append(c.Env, "IMAGE="+y.gateway, "CONSUL_IMAGE="+y.consul, "HTTP_PORT=0", "API_PORT=0", "CONSUL_PORT=0", "PAGE_PORT=0")
		if out, err := c.CombinedOutput(); err != nil {
			y.t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	url := func(service, port string) string {
		id := y.docker(y.t, "ps", "--quiet", "--filter", "label=com.docker.compose.project="+project,
			"--filter", "label=com.docker.compose.service="+service)
		return "http://" + y.docker(y.t, "port", id, port+"/tcp")
	}
	servers := func(n int) {
		y.t.Helper()
		y.eventually(fmt.Sprintf("%d servers", n), func() bool {
			_, body := y.get(url("gateway", "8081")+"/detail", "")
			return strings.Count(body, "server ") == n
		})
	}
	defer call("down", "--volumes")
	call("up", "--detach", "--no-build")
	servers(2)
	for _, service := range []string{"web", "shop"} {
		if status, body := y.get(url("gateway", "80"), service); status != http.StatusOK || !strings.HasPrefix(body, "hello from "+service+"-") {
			y.t.Errorf("%s: %d %s", service, status, body)
		}
	}
	if status, body := y.get(url("gateway", "9180")+"/", ""); status != http.StatusOK || !strings.Contains(body, "shop") {
		y.t.Errorf("the page: %d %s", status, body)
	}
	call("up", "--detach", "--no-build", "--scale", "web=3")
	servers(4)
	call("stop", "shop")
	servers(3)
}

// tengine builds the image on one with a Tengine in it.
func tengine(t *testing.T, e *engine, debian string) string {
	t.Helper()
	binary := os.Getenv("TENGINE_BIN")
	if binary == "" {
		t.Skip("TENGINE_BIN names no Tengine")
	}
	const base, name = "swallowkeeper-test-tengine-base", "swallowkeeper-test-tengine"
	dir := t.TempDir()
	copyTo(t, filepath.Join(dir, "nginx"), binary)
	// Wherever it was built to be, and without the libraries that it may want.
	write(t, filepath.Join(dir, "Dockerfile"), "FROM "+debian+`
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends libssl3 libpcre3 libpcre2-8-0 zlib1g libcrypt1 && \
	rm -rf /var/lib/apt/lists/*
COPY nginx /opt/tengine/sbin/nginx
`)
	e.build(t, base, dir)
	e.build(t, name, "--file", "demo/Dockerfile",
		"--build-arg", version, "--build-arg", "BASE_IMAGE="+base, "--build-arg", "NGINX_BIN=/opt/tengine/sbin/nginx", ".")
	return name
}
