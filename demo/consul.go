package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/registry/consul"
)

// aboutConsul is the story of services that register themselves.
func aboutConsul() story {
	return story{
		name: "consul", about: "services in Consul, and an nginx with the dyups API: no reload",
		addresses: []address{
			{"registry", "the registry", "127.0.0.1:8500"},
			{"api", "the gateway's dyups API", "127.0.0.1:8081"},
			{"proxy", "the gateway's traffic", "127.0.0.1:8080"},
		},
		open: openConsul,
	}
}

type consulStory struct {
	*stage
	dyups  *dyupstest.Server
	consul *consulServer
	agent  *consulAgent
}

func openConsul(t *stage) (*play, error) {
	s := &consulStory{stage: t}
	var err error
	if s.consul, err = startConsul(t.options.Registry); err != nil {
		return nil, err
	}
	t.closing = append(t.closing, s.consul.close)
	s.dyups, err = dyupstest.New(dyupstest.Options{
		APIAddr: t.options.API, ProxyAddr: t.options.Proxy, Workers: 4, WorkerHeader: true, MaxConns: true, ConfFile: t.conf,
	})
	if err != nil {
		return nil, err
	}
	s.agent = &consulAgent{
		registry: s.consul.url, services: t.services, client: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second},
	}
	t.closing = append(t.closing, s.dyups.Close, s.agent.client.CloseIdleConnections)

	from, to := consul.DefaultConfig(), dyups.DefaultConfig()
	from.Address, to.Address = s.consul.url, s.dyups.API()
	return &play{
		registryType: "consul", registry: &from, gatewayType: "dyups", gateway: &to,
		url:   func(service string) (string, string) { return s.dyups.Proxy(), service },
		pools: s.pools, pushed: func() int { return s.dyups.Posts() + s.dyups.Deletes() }, pushes: "changes pushed to the gateway",
		launch: s.launch, taking: "registered", intro: s.intro,
		steps: []step{
			{"Start", s.start},
			{"Scale out", s.grow},
			{"Rolling restart", s.rollingRestart},
			{"A crash", s.crash},
			{"The registry answers: there are no services", s.emptyRegistry},
			{"Recovery", s.recovery},
		},
		invite: s.invite,
	}, nil
}

func (s *consulStory) intro() string {
	v := s.view
	return fmt.Sprintf(`%s   all of it runs in this one process, on loopback
Consul and nginx are simulated here. swallowkeeper is the real one, with all that it does.

  registry        %s   stands in for Consul, and speaks its HTTP API
  swallowkeeper   watches the registry, writes the conf file, keeps the gateway in sync
                  %s   its page: watch the story there
  gateway         %s   stands in for nginx: carries the traffic, with 4 workers
                  %s   its dyups API: changes without a reload
  client          sends about 100 requests a second through the gateway, all the time`,
		v.bold("swallowkeeper demo"), v.accent(s.consul.url), v.accent(s.page), v.accent(s.dyups.Proxy()), v.accent(s.dyups.API()))
}

func (s *consulStory) pools() []map[string][]string {
	var all []map[string][]string
	for _, w := range s.dyups.Workers() {
		pools := map[string][]string{}
		for name, block := range w.Upstreams {
			pools[name] = servers(block)
		}
		all = append(all, pools)
	}
	return all
}

// launch starts an instance, which registers itself.
func (s *consulStory) launch(ctx context.Context, service, name string) (*instance, error) {
	i, err := s.services.start(service, name)
	if err != nil {
		return nil, err
	}
	return i, s.agent.register(ctx, i)
}

func (s *consulStory) start(ctx context.Context) error {
	s.line("web and search start, 2 instances each, and register themselves as your services do.")
	began := time.Now()
	if err := s.beginAll(ctx); err != nil {
		return err
	}
	s.line("All 4 workers of the gateway have them, %s after the first was started.", ms(time.Since(began)))
	s.pause(ctx, time.Second)
	return s.callAll(ctx)
}

func (s *consulStory) rollingRestart(ctx context.Context) error {
	s.line("Each instance of web is replaced: a new one registers, the old one deregisters, " +
		"answers what is under way, and ends.")
	for _, old := range slices.Clone(s.up[web]) {
		s.pause(ctx, 1200*time.Millisecond)
		fresh, in, err := s.join(ctx)
		if err != nil {
			return err
		}
		if err := s.inSync(ctx); err != nil {
			return err
		}
		began := time.Now()
		s.leave(old)
		if err := s.agent.deregister(ctx, old); err != nil {
			return err
		}
		if err := s.inSync(ctx); err != nil {
			return err
		}
		s.line("%s for %s: in after %s, out of every worker after %s.", fresh.name, old.name, ms(in), ms(time.Since(began)))
		s.services.stop(old)
	}
	return s.allServe(ctx, web)
}

func (s *consulStory) crash(ctx context.Context) error {
	victim := s.up[web][0]
	s.line("%s dies without a word to anybody: its port refuses connections.", victim.name)
	began := time.Now()
	s.services.crash(victim)
	s.leave(victim)
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.line("Its check, asked every %s, failed: out of every worker %s after its death.", checkInterval, ms(time.Since(began)))
	s.line("Until then the gateway turned to the next server, so no client noticed.")
	return s.allServe(ctx, web)
}

func (s *consulStory) emptyRegistry(ctx context.Context) error {
	s.line("As seen after a change of leader: valid answers, status 200, and nothing in them.")
	s.before = s.pushed()
	s.consul.AnswerEmpty(true)
	return s.held(ctx)
}

func (s *consulStory) recovery(ctx context.Context) error {
	s.line("The registry finds its services again.")
	began := time.Now()
	s.consul.AnswerEmpty(false)
	if err := s.mended(ctx, began); err != nil {
		return err
	}
	return s.replaced(ctx)
}

// A rack of servers that the visitor may remove at once: more than half of all, so that the guard holds it.
const rack = "rack-2"

// invite prints commands to try. An instance registered without an address has its node's, which is this machine's.
func (s *consulStory) invite(ctx context.Context) error {
	spare, err := s.services.start("hello", "hello-1")
	if err != nil {
		return err
	}
	for n := range shopSlots {
		i, err := s.services.start(shop, fmt.Sprintf("%s-%d", shop, n+1))
		if err != nil {
			return err
		}
		if err := s.agent.place(ctx, i, rack); err != nil {
			return err
		}
		s.up[shop] = append(s.up[shop], i)
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	registry := strings.TrimPrefix(s.consul.url, "http://")
	api, proxy := strings.TrimPrefix(s.dyups.API(), "http://"), strings.TrimPrefix(s.dyups.Proxy(), "http://")
	s.list("\nNow you. A small server waits at "+spare.addr+". In another terminal:",
		try{"register it", fmt.Sprintf(`curl -X PUT %s/v1/agent/service/register -d '{"Name":"hello","Port":%d}'`, registry, spare.port)},
		try{"see it", fmt.Sprintf("curl %s/detail", api)},
		try{"call it", fmt.Sprintf("curl -H 'Host: hello' %s", proxy)},
		try{"its health", fmt.Sprintf("curl '%s/v1/health/service/hello?pretty'", registry)},
		try{"deregister", fmt.Sprintf("curl -X PUT %s/v1/agent/service/deregister/hello", registry)},
		try{"rest " + s.up[web][0].name, fmt.Sprintf("curl -X PUT '%s/v1/agent/service/maintenance/%s?enable=true'", registry, s.up[web][0].name)},
		try{"nginx's file", "cat " + s.conf},
		try{"the verdict", s.ask("status")},
		try{"each server", s.ask("upstreams")},
		try{"freeze it", s.change("freeze hello")},
	)
	s.list(fmt.Sprintf("Cause a hold: %s, with the %d servers of %s, goes from the registry at one blow.", rack, shopSlots, shop),
		try{"lose a rack", fmt.Sprintf(`curl -X PUT %s/v1/catalog/deregister -d '{"Node":"%s"}'`, registry, rack)},
		try{"what is held", s.ask("status")},
		try{"approve it", "the command comes here, with the ID of the hold"},
	)
	return nil
}
