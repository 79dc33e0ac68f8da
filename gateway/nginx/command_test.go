package nginx_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/setting"
)

// TestReloadByCommand: the master is found by a worker's answer, and a command that fails says so.
func TestReloadByCommand(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		g := r.gateway(t, func(c *nginx.Config) { c.PID = "" })
		for _, server := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
			want := set(with(t, "web", server))
			must(t, change(t, g, want))
			has(t, g, want)
			if live, err := g.Live(t.Context()); err != nil || len(live.Workers) != workers {
				t.Errorf("workers are %+v, %v", live.Workers, err)
			}
		}
		bad := r.gateway(t, func(c *nginx.Config) { c.PID, c.Reload = "", []string{"false", "reload"} })
		if r.double == nil {
			says(t, change(t, bad, set(with(t, "web", "127.0.0.1:3"))), "false reload", "exit status 1")
			must(t, change(t, g, set(with(t, "web", "127.0.0.1:3"))))
		}
	})
}

// recorded is a machine that notes what is run.
type recorded struct {
	*faults
	mu   sync.Mutex
	runs []string
}

func (r *recorded) Run(ctx context.Context, argv []string) ([]byte, error) {
	r.mu.Lock()
	r.runs = append(r.runs, strings.Join(argv, " "))
	r.mu.Unlock()
	return r.faults.Run(ctx, argv)
}

// TestInAContainer: the commands are run there, and no process of this machine is looked at.
func TestInAContainer(t *testing.T) {
	r := double(t)
	c := r.config()
	c.PID, c.Container, c.Check, c.Reload = "", "edge", []string{"nginx", "-t"}, []string{"nginx", "-s", "reload"}
	on := &recorded{faults: r.faults}
	g := nginx.New(c, quiet(), nginx.On(on))
	want := set(with(t, "web", "127.0.0.1:1"))
	must(t, change(t, g, want))
	has(t, g, want)
	if got := strings.Join(on.runs, "; "); got != "docker exec edge nginx -t; docker exec edge nginx -s reload" {
		t.Errorf("it ran %s", got)
	}
	if a := g.Abilities(); a.NginxConf != "" || a.Folder != r.dir {
		t.Errorf("its abilities are %+v", a)
	}
}

// TestAFailingCheck: a check that says nothing of nginx's is told with its own words.
func TestAFailingCheck(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	r := double(t)
	c := r.config()
	for want, check := range map[string][]string{
		"no such file":     {"/nonexistent/nginx", "-t"},
		"exit status 3: x": {"sh", "-c", "echo x >&2; exit 3"},
		"deadline":         {"sleep", "600"},
	} {
		c.Check = check
		says(t, change(t, nginx.New(c, quiet(), nginx.On(system{r.faults})), set(with(t, "web", "127.0.0.1:1"))), want)
		if r.leads(t) != "" || r.count() > 0 {
			t.Errorf("%q: the link leads to %q, %d reloads", check, r.leads(t), r.count())
		}
	}
}

// system runs commands on this machine.
type system struct{ *faults }

func (system) Run(ctx context.Context, argv []string) ([]byte, error) {
	return nginx.System().Run(ctx, argv)
}

// TestValidate: what is refused, by its key.
func TestValidate(t *testing.T) {
	for key, changes := range map[string][]func(c *nginx.Config){
		"dir":             {func(c *nginx.Config) { c.Dir = "etc" }, func(c *nginx.Config) { c.Dir = "/a;b" }, func(c *nginx.Config) { c.Dir = "/a/*" }, func(c *nginx.Config) { c.Dir = "/" }},
		"servers":         {func(c *nginx.Config) { c.Servers = "lua" }},
		"hosts":           {func(c *nginx.Config) { c.Hosts = []string{"a/b"} }, func(c *nginx.Config) { c.Hosts = []string{"*.a"} }, func(c *nginx.Config) { c.Hosts = []string{"a.upstream.conf"} }, func(c *nginx.Config) { c.Hosts = []string{""} }},
		"check":           {func(c *nginx.Config) { c.Check = nil }},
		"reload":          {func(c *nginx.Config) { c.Reload = []string{""} }},
		"pid":             {func(c *nginx.Config) { c.PID = "nginx.pid" }},
		"container":       {func(c *nginx.Config) { c.Container = "-x" }, func(c *nginx.Config) { c.Container, c.PID = "edge", "/run/nginx.pid" }},
		"verify":          {func(c *nginx.Config) { c.Verify = "ftp://a/" }, func(c *nginx.Config) { c.Verify = "http://a" }, func(c *nginx.Config) { c.Verify = "http://u:p@a/" }},
		"tls_server_name": {func(c *nginx.Config) { c.TLSServerName = "*.a" }, func(c *nginx.Config) { c.TLSServerName = "A" }},
		"min_interval":    {func(c *nginx.Config) { c.MinInterval = -1 }},
		"max_old_workers": {func(c *nginx.Config) { c.MaxOldWorkers = 0 }},
	} {
		for i, f := range changes {
			c := nginx.DefaultConfig()
			f(&c)
			var wrong *setting.Error
			if err := c.Validate(); !errors.As(err, &wrong) || wrong.Key != key {
				t.Errorf("%s %d: %v", key, i, err)
			}
		}
	}
}
