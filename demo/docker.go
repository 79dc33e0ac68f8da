package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"swallowkeeper/gateway/nginx"
	"swallowkeeper/gateway/nginx/nginxtest"
	"swallowkeeper/registry/docker"
	"swallowkeeper/registry/docker/dockertest"
)

// aboutDocker is the story of containers with labels.
func aboutDocker() story {
	return story{
		name: "docker", about: "containers with labels, and a plain nginx that is reloaded",
		addresses: []address{
			{"registry", "the Docker engine", "127.0.0.1:2375"},
			{"proxy", "nginx's traffic", "127.0.0.1:8080"},
		},
		open: openDocker,
	}
}

// recovery is how long the guard removes nothing after an outage of the engine. The default is minutes.
const recovery = 5 * time.Second

type dockerStory struct {
	*stage
	docker *dockerServer
	nginx  *nginxtest.Server
	files  string // the folder that nginx includes
}

func openDocker(t *stage) (*play, error) {
	s := &dockerStory{stage: t, files: filepath.Join(t.dir, "nginx", "current")}
	conf, table := filepath.Join(t.dir, "nginx.conf"), filepath.Join(t.dir, "proc")
	text := fmt.Sprintf(`worker_processes 4;
events {}
http {
    include %[1]s/*.upstream.conf;

    server {
        listen %[2]s;
        include %[1]s/*.location.conf;
    }
}
`, s.files, t.options.Proxy)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.Mkdir(table, 0o700)); err != nil {
		return nil, fmt.Errorf("write nginx's configuration: %w", err)
	}
	var err error
	if s.docker, err = startDocker(t.options.Registry, t.services); err != nil {
		return nil, err
	}
	t.closing = append(t.closing, s.docker.close)
	s.nginx, err = nginxtest.Start(nginxtest.Options{Conf: conf, Table: table, Workers: 4, Addr: t.options.Proxy})
	if err != nil {
		return nil, err
	}
	t.closing = append(t.closing, s.nginx.Close)

	from, to := docker.DefaultConfig(), nginx.DefaultConfig()
	from.Host, from.Address, from.Resync = "tcp://"+s.docker.addr, "published", time.Second
	to.Dir, to.PID, to.On = filepath.Dir(s.files), s.nginx.PIDFile(), s.nginx
	to.Verify, to.MinInterval = "http://"+s.nginx.Addr()+"/.swallowkeeper/generation", 200*time.Millisecond
	return &play{
		registryType: "docker", registry: &from, gatewayType: "nginx", gateway: &to, recovery: recovery,
		url:   func(service string) (string, string) { return "http://" + s.nginx.Addr() + "/" + service + "/", "" },
		pools: s.pools, pushed: s.nginx.Reloads, pushes: "reloads of nginx",
		launch: s.launch, taking: "started", intro: s.intro,
		steps: []step{
			{"Start", s.start},
			{"Scale out", s.grow},
			{"Rolling deploy", s.rollingDeploy},
			{"Unhealthy", s.unhealthy},
			{"A container dies", s.crash},
			{"dockerd is killed", s.killed},
			{"dockerd is back, and lists no containers", s.empty},
			{"Recovery", s.recovery},
		},
		invite: s.invite,
	}, nil
}

func (s *dockerStory) intro() string {
	v := s.view
	return fmt.Sprintf(`%s   all of it runs in this one process, on loopback
Docker and nginx are simulated here. swallowkeeper is the real one, with all that it does.

  engine          %s   stands in for dockerd, and speaks Docker's API
  swallowkeeper   watches the engine, writes nginx's files, and has nginx reload them
                  %s   its page: watch the story there
  nginx           %s   stands in for nginx: carries the traffic, with 4 workers
                  %s   the files that it includes
  client          sends about 100 requests a second through nginx, all the time`,
		v.bold("swallowkeeper demo --story docker"), v.accent("http://"+s.docker.addr), v.accent(s.page),
		v.accent("http://"+s.nginx.Addr()), v.accent(s.files))
}

func (s *dockerStory) pools() []map[string][]string {
	var all []map[string][]string
	for _, w := range s.nginx.Workers() {
		if w.Leaving {
			continue
		}
		pools := map[string][]string{}
		for u := range w.Set.All() {
			for _, srv := range u.Servers {
				pools[u.Name] = append(pools[u.Name], srv.Addr.String())
			}
		}
		all = append(all, pools)
	}
	return all
}

// launch starts a container. web has a health check, search has none.
func (s *dockerStory) launch(ctx context.Context, service, name string) (*instance, error) {
	if err := s.docker.create(ctx, service, name, service == web); err != nil {
		return nil, err
	}
	return s.docker.start(ctx, name)
}

func (s *dockerStory) start(ctx context.Context) error {
	s.line("web and search start, 2 containers each. What nginx is to know stands on their labels:")
	s.view.say("         %s", s.view.accent(`docker run -d -P -l swallowkeeper.name=web -l 'swallowkeeper.route=/web/*' app`))
	began := time.Now()
	if err := s.beginAll(ctx); err != nil {
		return err
	}
	s.line("All 4 workers of nginx have them, %s after the first was started: web's health is asked every %s. For web they read:",
		ms(time.Since(began)), checkInterval)
	for _, file := range []string{"web.upstream.conf", "web.location.conf"} {
		if err := s.show(file); err != nil {
			return err
		}
	}
	s.pause(ctx, 2*time.Second)
	return s.callAll(ctx)
}

// show prints the beginning of one of nginx's files.
func (s *dockerStory) show(file string) error {
	text, err := os.ReadFile(filepath.Join(s.files, file))
	if err != nil {
		return err
	}
	const most = 7
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > most {
		lines = append(lines[:most], "    …")
	}
	s.view.say("         %s\n           %s", s.view.bold(file), s.view.faint(strings.Join(lines, "\n           ")))
	return nil
}

// rollingDeploy replaces the containers of web one by one while slow requests are in progress.
func (s *dockerStory) rollingDeploy(ctx context.Context) error {
	s.line("Each container of web is replaced: a new one starts, and docker stop ends the old one. Some requests take 400 ms now.")
	slow, stop := context.WithCancel(ctx)
	var sending sync.WaitGroup
	defer sending.Wait()
	defer stop()
	for range 2 * len(s.up[web]) {
		sending.Go(func() {
			for slow.Err() == nil {
				s.client.callFor(ctx, s.client.kept, web, "?"+waitFor+"=400ms")
			}
		})
	}
	for _, old := range slices.Clone(s.up[web]) {
		s.pause(ctx, 1200*time.Millisecond)
		fresh, in, err := s.join(ctx)
		if err != nil {
			return err
		}
		if err := s.inSync(ctx); err != nil {
			return err
		}
		if err := s.await(ctx, "a request is under way in "+old.name, func() bool { return old.busy.Load() > 0 }); err != nil {
			return err
		}
		began, busy := time.Now(), old.busy.Load()
		s.leave(old)
		stopped := make(chan error, 1)
		go func() { stopped <- s.docker.stop(ctx, old.name) }()
		err = s.inSync(ctx)
		out := time.Since(began)
		if err := errors.Join(<-stopped, err); err != nil {
			return err
		}
		s.line("%s for %s: in after %s, out of every worker after %s. What was under way in it, %d then, was answered.",
			fresh.name, old.name, ms(in), ms(out), busy)
	}
	return s.allServe(ctx, web)
}

func (s *dockerStory) unhealthy(ctx context.Context) error {
	i := s.up[web][0]
	s.line("%s runs, but its health check fails.", i.name)
	began := time.Now()
	i.sick.Store(true)
	s.leave(i)
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.line("Asked every %s, it was found out: out of every worker after %s.", checkInterval, ms(time.Since(began)))
	s.pause(ctx, 2*time.Second)
	began = time.Now()
	i.sick.Store(false)
	s.up[web] = append(s.up[web], i)
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.line("It is healthy again: in after %s.", ms(time.Since(began)))
	return s.allServe(ctx, web)
}

func (s *dockerStory) crash(ctx context.Context) error {
	victim := s.up[web][0]
	s.line("%s dies by itself: no stop signal comes before its end.", victim.name)
	began := time.Now()
	s.leave(victim)
	s.docker.crash(victim)
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.line("Docker told of its death: out of every worker %s after it.", ms(time.Since(began)))
	s.line("Until then nginx turned to the next server, so no client noticed.")
	return s.allServe(ctx, web)
}

func (s *dockerStory) killed(ctx context.Context) error {
	s.line("The containers run on, and nobody can ask for them any more.")
	s.before = s.pushed()
	s.docker.kill()
	trouble := func() error {
		if all := s.status().Registries; len(all) > 0 {
			return all[0].Trouble
		}
		return nil
	}
	if err := s.await(ctx, "swallowkeeper notices", func() bool { return trouble() != nil }); err != nil {
		return err
	}
	s.line("That is swallowkeeper's log. %s is not empty: nothing changes.", s.view.warn("Unknown"))
	s.pause(ctx, 2*time.Second)
	if err := s.goesOn(ctx, func() bool { return trouble() != nil }); err != nil {
		return err
	}
	return s.allServe(ctx, web, search)
}

func (s *dockerStory) empty(ctx context.Context) error {
	s.line("A valid list, status 200, and nothing in it.")
	s.docker.engine.Break(dockertest.Empty)
	if err := s.docker.revive(); err != nil {
		return err
	}
	return s.held(ctx)
}

func (s *dockerStory) recovery(ctx context.Context) error {
	s.line("The engine finds its containers again.")
	began := time.Now()
	s.docker.engine.Mend()
	if err := s.mended(ctx, began); err != nil {
		return err
	}
	s.line("After an outage nothing goes for a while, as some of it may still come back: for 3 minutes, and here for %s.", recovery)
	return s.replaced(ctx)
}

// invite prepares a container to start, and a service whose containers can all be stopped at once.
func (s *dockerStory) invite(ctx context.Context) error {
	if err := s.docker.create(ctx, "hello", "hello-1", false); err != nil {
		return err
	}
	for range shopSlots {
		if _, err := s.begin(ctx, shop); err != nil {
			return err
		}
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	api, proxy := s.docker.addr+"/containers", s.nginx.Addr()
	s.list("\nNow you. A container called hello-1 waits to be started. In another terminal:",
		try{"start it", "curl -X POST " + api + "/hello-1/start"},
		try{"call it", "curl http://" + proxy + "/hello/"},
		try{"its files", "ls " + s.files + "/ && cat " + s.files + "/hello.*"},
		try{"stop it", "curl -X POST " + api + "/hello-1/stop"},
		try{"make another", "curl " + api + "/create?name=hello-2 -H 'Content-Type: application/json' -d '" + asked("hello", false) + "'"},
		try{"a slow one", "curl 'http://" + proxy + "/web/?wait=5s'"},
		try{"the verdict", s.ask("status")},
		try{"each server", s.ask("upstreams")},
		try{"each route", s.ask("routes")},
		try{"who and why", s.ask("explain web")},
		try{"freeze it", s.change("freeze hello")},
	)
	s.view.say("With Docker's own command, where you have it: %s", s.view.accent("DOCKER_HOST=tcp://"+s.docker.addr+" docker ps"))
	s.list(fmt.Sprintf("Cause a hold: all %d containers of %s are stopped at one blow.", shopSlots, shop),
		try{"stop shop", fmt.Sprintf("curl -Z -X POST '%s/shop-[1-%d]/stop'", api, shopSlots)},
		try{"what is held", s.ask("status")},
		try{"approve it", "the command comes here, with the ID of the hold"},
	)
	return nil
}
