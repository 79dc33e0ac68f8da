package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/guard"
	"swallowkeeper/syncer"
)

// The sample services.
const (
	web    = "web"
	search = "search"
)

// story is what happens, and all who take part in it. Each step waits until what it says
// is true: in the controller's own status, and in every worker of the gateway.
type story struct {
	gateway  *dyupstest.Server
	registry *registry
	services *fleet
	client   *client
	status   func() syncer.Status
	page     string // the URL of its page
	plain    func(ctx context.Context, conf string) bool
	ask      func(command string) string // a command for the controller, ready to be copied
	view     *view
	rates    rates

	patience time.Duration
	terminal bool
	conf     string
	began    time.Time

	started map[string]int         // how many instances of a service were ever started
	up      map[string][]*instance // those that should serve now
	before  int                    // changes pushed before the registry answered that it is empty
}

func (s *story) introduce() {
	v := s.view
	v.say(`%s   all of it runs in this one process, on loopback
Consul and nginx are simulated here. swallowkeeper is the real one, with all that it does.

  registry        %s   stands in for Consul, and speaks its HTTP API
  swallowkeeper   watches the registry, writes the conf file, keeps the gateway in sync
                  %s   its page: watch the story there
  gateway         %s   stands in for nginx: carries the traffic, with 4 workers
                  %s   its dyups API: changes without a reload
  client          sends about 100 requests a second through the gateway, all the time`,
		v.bold("swallowkeeper demo"), v.accent(s.registry.url), v.accent(s.page), v.accent(s.gateway.Proxy()), v.accent(s.gateway.API()))
}

// tell plays the whole story. It returns an error at the first request that failed and
// the first thing that did not come true.
func (s *story) tell(ctx context.Context) error {
	s.started, s.up = map[string]int{}, map[string][]*instance{}
	for k, step := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"Start", s.start},
		{"Scale out", s.scaleOut},
		{"Rolling restart", s.rollingRestart},
		{"A crash", s.crash},
		{"The registry answers: there are no services", s.emptyRegistry},
		{"Recovery", s.recovery},
	} {
		s.view.say("\n%s", s.view.bold(fmt.Sprintf("%d  %s", k+1, step.title)))
		err := step.play(ctx)
		if err == nil {
			err = s.client.failure()
		}
		if err != nil {
			s.sum("")
			return fmt.Errorf("step %d, %s: %w", k+1, strings.ToLower(step.title), err)
		}
		s.pause(ctx, 2*time.Second)
	}
	s.client.close()
	if err := s.client.failure(); err != nil {
		s.sum("")
		return err
	}
	s.sum("Not one request failed.")
	return nil
}

func (s *story) start(ctx context.Context) error {
	s.line("web and search start, 2 instances each, and register themselves as your services do.")
	began := time.Now()
	for _, service := range []string{web, web, search, search} {
		if _, err := s.begin(ctx, service); err != nil {
			return err
		}
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	s.line("All 4 workers of the gateway have them, %s after the first was started.", ms(time.Since(began)))
	s.pause(ctx, time.Second)
	s.client.start(ctx, web, search)
	if err := s.allServe(ctx, web, search); err != nil {
		return err
	}
	s.line("The client calls both through the gateway, and every instance answers.")
	return nil
}

func (s *story) scaleOut(ctx context.Context) error {
	s.line("web grows from 2 instances to 5.")
	for range 3 {
		s.pause(ctx, 1200*time.Millisecond)
		i, took, err := s.join(ctx)
		if err != nil {
			return err
		}
		s.line("%s registered, and served its first request %s later.", i.name, ms(took))
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	return s.allServe(ctx, web)
}

func (s *story) rollingRestart(ctx context.Context) error {
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
		if err := s.services.deregister(ctx, old); err != nil {
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

func (s *story) crash(ctx context.Context) error {
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

func (s *story) emptyRegistry(ctx context.Context) error {
	s.line("As seen after a change of leader: valid answers, status 200, and nothing in them.")
	s.before = s.pushed()
	s.registry.AnswerEmpty(true)
	held := func() bool {
		return slices.ContainsFunc(s.status().Holds, func(h guard.Hold) bool { return h.Rule == guard.RuleMinServices })
	}
	if err := s.await(ctx, "the guard holds the empty answer", held); err != nil {
		return err
	}
	s.line("%s %s.", s.view.warn("held:"), guard.Reasons(s.status().Holds))
	s.pause(ctx, 2*time.Second)
	const more = 100
	before := sum(s.client.count().requests)
	goesOn := func() bool { return sum(s.client.count().requests) >= before+more }
	if err := s.await(ctx, "traffic goes on", goesOn); err != nil {
		return err
	}
	if !held() || !s.everyWorkerHasAll() || s.pushed() != s.before {
		return errors.New("something was pushed to the gateway although the guard held")
	}
	s.line("All servers are still in the gateway, and %d requests since were answered.", more)
	return s.allServe(ctx, web, search)
}

func (s *story) recovery(ctx context.Context) error {
	s.line("The registry finds its services again.")
	began := time.Now()
	s.registry.AnswerEmpty(false)
	if err := s.await(ctx, "the hold ends", func() bool { return len(s.status().Holds) == 0 }); err != nil {
		return err
	}
	if err := s.inSync(ctx); err != nil {
		return err
	}
	if s.pushed() != s.before {
		return errors.New("the end of the hold was not the end of it: something was pushed to the gateway")
	}
	s.line("The hold ended by itself after %s. Nothing was pushed in between, so there is nothing to repair.",
		ms(time.Since(began)))
	s.pause(ctx, 1200*time.Millisecond)
	i, took, err := s.join(ctx)
	if err != nil {
		return err
	}
	s.line("%s takes the crashed one's place: first request after %s.", i.name, ms(took))
	if err := s.inSync(ctx); err != nil {
		return err
	}
	return s.allServe(ctx, web, search)
}

// begin starts the next instance of a service and registers it.
func (s *story) begin(ctx context.Context, service string) (*instance, error) {
	s.started[service]++
	i, err := s.services.start(service, fmt.Sprintf("%s-%d", service, s.started[service]))
	if err != nil {
		return nil, err
	}
	s.up[service] = append(s.up[service], i)
	return i, s.services.register(ctx, i)
}

// join begins an instance of web and says how long it took from its registration to its
// first request.
func (s *story) join(ctx context.Context) (*instance, time.Duration, error) {
	began := time.Now()
	i, err := s.begin(ctx, web)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := s.limit(ctx, i.name+" serves a request")
	defer cancel()
	// One request after the other, as the client's own would come too seldom to measure by.
	for s.client.call(ctx, s.client.kept, web) != i.name {
		if err := s.trouble(ctx); err != nil {
			return nil, 0, err
		}
	}
	return i, time.Since(began), nil
}

// leave takes an instance off the list of those that should serve.
func (s *story) leave(i *instance) {
	s.up[i.service] = slices.DeleteFunc(slices.Clone(s.up[i.service]), func(o *instance) bool { return o == i })
}

// inSync waits until the controller says that the gateway is in sync and every worker
// has exactly the instances that should serve.
func (s *story) inSync(ctx context.Context) error {
	return s.await(ctx, "the gateway has exactly the instances that are up", func() bool {
		return s.everyWorkerHasAll() && s.status().InSync()
	})
}

func (s *story) everyWorkerHasAll() bool {
	for _, w := range s.gateway.Workers() {
		for service, up := range s.up {
			has := servers(w.Upstreams[service])
			if len(has) != len(up) {
				return false
			}
			for _, i := range up {
				if !slices.Contains(has, i.addr) {
					return false
				}
			}
		}
	}
	return true
}

// pushed is how many changes the gateway was sent.
func (s *story) pushed() int { return s.gateway.Posts() + s.gateway.Deletes() }

// allServe waits until each instance of the services has served again.
func (s *story) allServe(ctx context.Context, services ...string) error {
	before := s.client.count().served
	return s.await(ctx, "every instance serves", func() bool {
		now := s.client.count().served
		for _, service := range services {
			for _, i := range s.up[service] {
				if now[i.name] <= before[i.name] {
					return false
				}
			}
		}
		return true
	})
}

// await waits until something is true, but not for ever, and not beyond a failed request.
func (s *story) await(ctx context.Context, what string, done func() bool) error {
	ctx, cancel := s.limit(ctx, what)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !done() {
		if err := s.trouble(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	return nil
}

// errPatience says that something did not come true in time.
var errPatience = errors.New("waited in vain")

func (s *story) limit(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("%w %s for this: %s", errPatience, s.patience, what))
}

// trouble is why a step cannot go on.
func (s *story) trouble(ctx context.Context) error {
	if err := s.client.failure(); err != nil {
		return err
	}
	if ctx.Err() == nil {
		return nil
	}
	err := context.Cause(ctx)
	if errors.Is(err, errPatience) {
		if why := s.why(); why != "" {
			err = fmt.Errorf("%w (%s)", err, why)
		}
	}
	return err
}

// why is what the controller's status has to say.
func (s *story) why() string {
	st := s.status()
	var parts []string
	for _, r := range st.Registries {
		if r.Trouble != nil {
			parts = append(parts, fmt.Sprintf("registry: %v", r.Trouble))
		}
	}
	if len(st.Holds) > 0 {
		parts = append(parts, "held: "+guard.Reasons(st.Holds))
	}
	if st.StoreErr != nil {
		parts = append(parts, fmt.Sprintf("conf file: %v", st.StoreErr))
	}
	for _, g := range st.Gateways {
		if g.Err != nil {
			parts = append(parts, fmt.Sprintf("gateway: %v", g.Err))
		}
	}
	return strings.Join(parts, "; ")
}

// line says a sentence with the time since the start.
func (s *story) line(format string, args ...any) {
	at := fmt.Sprintf("%6.1fs  ", time.Since(s.began).Seconds())
	text := s.view.wrap(fmt.Sprintf(format, args...), len(at))
	s.view.say("%s%s", s.view.faint(at), text)
}

// pause is for the reader's eye, so there is none where nobody looks.
func (s *story) pause(ctx context.Context, d time.Duration) {
	if !s.terminal {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sum is the bill at the end.
func (s *story) sum(verdict string) {
	count, v := s.client.count(), s.view
	failed := func(n int) string {
		if n > 0 {
			return v.bad(fmt.Sprintf("%8d", n))
		}
		return v.good(fmt.Sprintf("%8d", n))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", v.faint("  service   instances   requests   failed"))
	for _, service := range slices.Sorted(maps.Keys(count.requests)) {
		fmt.Fprintf(&b, "  %-9s %9d   %8d %s\n", service, s.started[service], count.requests[service], failed(count.failed[service]))
	}
	fmt.Fprintf(&b, "  %-9s %9s   %8d %s\n\n", "all", "", sum(count.requests), failed(sum(count.failed)))
	fmt.Fprintf(&b, "  changes pushed to the gateway %d, generations of the conf file written %d, in %.0f s",
		s.pushed(), s.status().Generation.Number, time.Since(s.began).Seconds())
	if verdict != "" {
		fmt.Fprintf(&b, "\n\n  %s", v.good(verdict))
	}
	v.say("%s", b.String())
}

func ms(d time.Duration) string {
	if d >= time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", max(1, d.Milliseconds()))
}
