package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/swarm"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/registry/etcd/etcdtest"
	"swallowkeeper/status"
)

// The tests of this file hold what the program says about bad input of etcd, Docker and an nginx that is reloaded, row by row.

// etcdTable is a registry that is asked often.
func etcdTable(url, more string) string {
	return fmt.Sprintf("[[registry]]\nname = \"etcd\"\ntype = \"etcd\"\naddress = [%q]\n%s\n", url, more)
}

func dockerTable(host string) string {
	return fmt.Sprintf("[[registry]]\nname = \"docker\"\ntype = \"docker\"\nhost = %q\n", host)
}

// startEtcd starts an etcd with one instance of web.
func startEtcd(t *testing.T) *etcdtest.Server {
	t.Helper()
	d, err := etcdtest.Start(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	d.Put("/swallowkeeper/services/web/1", `{"address":"10.0.0.1:80"}`)
	return d
}

// A registry that can't be read is named with what to do, and what there was stays.
func TestBadRegistries(t *testing.T) {
	t.Parallel()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	etcd := func(more string, spoil func(d *etcdtest.Server)) func(t *testing.T) string {
		return func(t *testing.T) string {
			d := startEtcd(t)
			spoil(d)
			return etcdTable(d.URL, more)
		}
	}
	docker := func(spoil func(e *dockertest.Engine)) func(t *testing.T) string {
		return func(t *testing.T) string {
			e := dockertest.New(t)
			spoil(e)
			return dockerTable(e.Host())
		}
	}
	locked := func(d *etcdtest.Server) { d.Authentication("sk", "s3cret", "/swallowkeeper/") }
	for _, tt := range []struct {
		name  string
		table func(t *testing.T) string
		parts []string
	}{
		{"etcd: nothing listens", func(t *testing.T) string { return etcdTable("http://"+loopback.Refused(t), "") }, []string{"connection refused"}},
		{"etcd: a web page", func(t *testing.T) string {
			web := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(web.Close)
			return etcdTable(web.URL, "")
		}, []string{"does not speak etcd's gRPC", "give the client port (2379), not the peer's"}},
		{"etcd: no user", etcd("", locked), []string{"needs username and password_file"}},
		{"etcd: a wrong password", etcd(fmt.Sprintf("username = \"sk\"\npassword_file = %q", password), locked), []string{"refuses user sk with the password of " + password}},
		{"etcd: no leader", etcd("", func(d *etcdtest.Server) { d.NoLeader(true) }), []string{"no leader"}},
		{"Docker: no such socket", func(*testing.T) string { return dockerTable("unix:///nowhere/docker.sock") }, []string{"/nowhere/docker.sock", "no such socket: is dockerd running?"}},
		{"Docker: a swarm's worker", docker(func(e *dockertest.Engine) { e.Swarm(swarm.LocalNodeStateActive, false) }), []string{`ask a manager, or set swarm = "off"`}},
		{"Docker: too old", docker(func(e *dockertest.Engine) { e.Speak(12, 24) }), []string{"1.24 is not supported"}},
		{"Docker: too new", docker(func(e *dockertest.Engine) { e.Speak(90, 99) }), []string{"Minimum supported API version is 1.90", "swallowkeeper speaks 1.40 to 1.57"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := bareRig(t, "")
			r.registries = etcdTable(startEtcd(t).URL, "")
			r.configure()
			r.once().wants(t, status.ExitInSync)
			before := r.state()
			r.registries = tt.table(t)
			r.configure()
			r.once("--timeout", "10s").wants(t, status.ExitFailed, tt.parts...)
			r.same(before)
		})
	}
}

// What one registration says wrongly costs no other, and explain has the reason.
func TestBadRegistrations(t *testing.T) {
	t.Parallel()
	const long = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	d := startEtcd(t)
	key := func(id string) string { return "/swallowkeeper/services/web/" + id }
	d.Put(key("json"), "{", key("port"), `{"address":"10.0.0.9:0"}`, key("name"), `{"address":"web.example:80"}`,
		key("long"), `{"address":"10.0.0.9:80","tags":["`+strings.Repeat("x", 100<<10)+`"]}`,
		"/swallowkeeper/services/same/1", `{"address":"10.0.0.3:80","routes":["/right/*"]}`)
	e := dockertest.New(t)
	run := func(spec dockertest.Spec, labels ...string) {
		spec.Labels = map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			spec.Labels[labels[i]] = labels[i+1]
		}
		e.Run(spec)
	}
	run(dockertest.Spec{Exposed: []string{"80/tcp"}, Networks: nets("one", "10.0.0.2")}, "swallowkeeper.name", "shop",
		"swallowkeeper.route", "/right/*", "swallowkeeper.route.2", "/a;b", "swallowkeeper.route.3", "/x/../y", "swallowkeeper.route.4", "~ ^/x",
		"swallowkeeper.route.5", "/a%20b", "swallowkeeper.route.6", strings.Repeat(long, 10))
	run(dockertest.Spec{Exposed: []string{"80/tcp"}, Networks: nets("one", "10.0.0.4", "two", "10.1.0.4")}, "swallowkeeper.name", "shop")
	run(dockertest.Spec{Exposed: []string{"80/tcp", "9000/tcp"}, Networks: nets("one", "10.0.0.5")}, "swallowkeeper.name", "shop")
	r := bareRig(t, "")
	r.registries = etcdTable(d.URL, "") + dockerTable(e.Host())
	r.configure()
	r.daemon()
	for name, parts := range map[string][]string{
		"web": {
			`the value of key "/swallowkeeper/services/web/json" is not understood: it is no JSON`, "port 0 is not between 1 and 65535",
			"web.example", "at most 65536",
		},
		"shop": {
			`path "/a;b": ';' is not allowed in a path`, `".." is not allowed as a segment`, `route "~ ^/x": write HOST/PATH or /PATH`,
			"'%' is not allowed in a path", "at most 512 are allowed", "on 2 networks: set swallowkeeper.network", "exposes 80 and 9000: set swallowkeeper.port",
		},
	} {
		until(t, patience, func() string {
			got := call(t, nil, "explain", "--socket", r.socket, name)
			for _, part := range parts {
				if !strings.Contains(got.stdout, part) {
					return fmt.Sprintf("nothing says %s:\n%s", part, got.stdout+got.stderr)
				}
			}
			return ""
		})
	}
	until(t, patience, func() string { // of two the one that came later is out, whichever registry answered first
		for _, name := range []string{"same", "shop"} {
			if strings.Contains(call(t, nil, "explain", "--socket", r.socket, name).stdout, "its requests go to upstream") {
				return ""
			}
		}
		return "both have the route /right/*"
	})
}

func nets(names ...string) map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for i := 0; i < len(names); i += 2 {
		all[names[i]] = dockertest.Addr(names[i+1])
	}
	return all
}

// An nginx that can't be reloaded is named with what to do, and goes on with what it has.
func TestBadReload(t *testing.T) {
	t.Parallel()
	if !nginxtest.Exists(nginxtest.Nginx) {
		t.Skip("no nginx is installed here")
	}
	home := t.TempDir()
	addr, dir := nginxtest.Free(t), filepath.Join(home, "swallowkeeper")
	nginxtest.StartMaster(t, nginxtest.Nginx, home, "user root; worker_processes 1;", "include "+home+"/theirs*.conf;\ninclude "+dir+
		"/current/*.upstream.conf;\nserver { listen "+addr+"; include "+dir+"/current/*.location.conf; }\n", addr)
	d := startEtcd(t)
	r := bareRig(t, "")
	r.registries = etcdTable(d.URL, "")
	configure := func(pid, verify string) {
		check := fmt.Sprintf("%q, \"-t\", \"-p\", %q, \"-c\", %q, \"-e\", %q", nginxtest.Nginx, home, filepath.Join(home, "nginx.conf"), os.DevNull)
		r.gateways = fmt.Sprintf("[[gateway]]\nname = \"edge\"\ntype = \"nginx\"\ndir = %q\npid = %q\ncheck = [%s]\nverify = \"http://%s/.swallowkeeper/%s\"\nmin_interval = \"0s\"\ntimeout = \"2s\"\n",
			dir, pid, check, addr, verify)
		r.configure()
	}
	pid := filepath.Join(home, "pid")
	configure(pid, "generation")
	r.once().wants(t, status.ExitInSync, "gateway edge: in sync")

	d.Put("/swallowkeeper/services/web/1", `{"address":"10.0.0.2:80"}`)
	other := exec.CommandContext(t.Context(), "sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	strange := filepath.Join(home, "strange")
	for path, text := range map[string]string{strange: strconv.Itoa(other.Process.Pid), filepath.Join(home, "theirs.conf"): "no_such_directive on;\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.once().wants(t, status.ExitOutOfSync, "gateway edge: out of sync: ", `unknown directive "no_such_directive"`, "theirs.conf:1", "not swallowkeeper's")
	if err := os.Remove(filepath.Join(home, "theirs.conf")); err != nil {
		t.Fatal(err)
	}
	configure(strange, "generation")
	r.once().wants(t, status.ExitOutOfSync, fmt.Sprintf(`pid %d is "sleep", no signal sent`, other.Process.Pid))
	configure(pid, "elsewhere")
	r.once().wants(t, status.ExitOutOfSync, "404", "include current/*.location.conf in the server of "+addr)
	configure(pid, "generation")
	r.once().wants(t, status.ExitInSync, "gateway edge: in sync")
}
