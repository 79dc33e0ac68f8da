package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/registry"
	"swallowkeeper/syncer"
)

// The sample services that the client calls.
const (
	web    = "web"
	search = "search"
)

// story is a story of the demo. Each has its own file.
type story struct {
	name, about string
	addresses   []address // listen addresses, besides the page
	// open starts the simulated parts. [stage.closing] closes them.
	open func(s *stage) (*play, error)
}

// address is a listen address of a story.
type address struct{ flag, what, usual string }

// play is a story ready to run.
type play struct {
	registryType, gatewayType string
	registry                  registry.Config
	gateway                   gateway.Config
	recovery                  time.Duration // of the guard; 0 for the default

	url    func(service string) (url, host string) // of a service, through the gateway
	pools  func() []map[string][]string            // servers of each upstream, for each worker of the gateway
	pushed func() int                              // number of changes to the gateway
	pushes string                                  // what they are called
	// launch starts an instance the usual way, and returns once the registry knows it.
	launch func(ctx context.Context, service, name string) (*instance, error)
	taking string // what an instance did when it serves for the first time

	intro func() string
	steps []step
	// invite prints what the visitor can try, ready to be copied.
	invite func(ctx context.Context) error
}

type step struct {
	title string
	play  func(context.Context) error
}

// stage is where a story takes place: the sample services, the client, the real controller, and what the visitor sees. Each
// step waits until what it says is true: in the controller's own status, and in every worker of the gateway.
type stage struct {
	*play
	options  Options
	dir      string // a folder that goes with the demo
	services *fleet
	client   *client
	status   func() syncer.Status
	page     string                      // the URL of its page
	ask      func(command string) string // a command for the controller, ready to be copied
	view     *view
	rates    rates
	closing  []func()

	conf  string
	began time.Time

	started map[string]int         // how many instances of a service were ever started
	up      map[string][]*instance // those that should serve now
	before  int                    // changes pushed before something that must push none
}

// close ends what is simulated, the last first.
func (s *stage) close() {
	for _, end := range slices.Backward(s.closing) {
		end()
	}
}

// tell plays the whole story. It returns an error at the first request that failed and
// the first thing that did not come true.
func (s *stage) tell(ctx context.Context) error {
	for k, step := range s.steps {
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

// begin starts the next instance of a service.
func (s *stage) begin(ctx context.Context, service string) (*instance, error) {
	s.started[service]++
	i, err := s.launch(ctx, service, fmt.Sprintf("%s-%d", service, s.started[service]))
	if err != nil {
		return nil, err
	}
	s.up[service] = append(s.up[service], i)
	return i, nil
}

// beginAll starts two instances of each service that the client calls.
func (s *stage) beginAll(ctx context.Context) error {
	for _, service := range []string{web, web, search, search} {
		if _, err := s.begin(ctx, service); err != nil {
			return err
		}
	}
	return s.inSync(ctx)
}

// callAll has the client call both services from now on.
func (s *stage) callAll(ctx context.Context) error {
	s.client.start(ctx, web, search)
	if err := s.allServe(ctx, web, search); err != nil {
		return err
	}
	s.line("The client calls both through the gateway, and every instance answers.")
	return nil
}

// join begins an instance of web and says how long it took from its start to its first request.
func (s *stage) join(ctx context.Context) (*instance, time.Duration, error) {
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
func (s *stage) leave(i *instance) {
	s.up[i.service] = slices.DeleteFunc(slices.Clone(s.up[i.service]), func(o *instance) bool { return o == i })
}

// inSync waits until the controller says that the gateway is in sync and every worker
// has exactly the instances that should serve.
func (s *stage) inSync(ctx context.Context) error {
	return s.await(ctx, "the gateway has exactly the instances that are up", func() bool {
		return s.everyWorkerHasAll() && s.status().InSync()
	})
}

func (s *stage) everyWorkerHasAll() bool {
	for _, pools := range s.pools() {
		for service, up := range s.up {
			has := pools[service]
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

// allServe waits until each instance of the services has served again.
func (s *stage) allServe(ctx context.Context, services ...string) error {
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
func (s *stage) await(ctx context.Context, what string, done func() bool) error {
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

func (s *stage) limit(ctx context.Context, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.options.patience, fmt.Errorf("%w %s for this: %s", errPatience, s.options.patience, what))
}

// trouble is why a step cannot go on.
func (s *stage) trouble(ctx context.Context) error {
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
func (s *stage) why() string {
	st := s.status()
	var parts []string
	for _, r := range st.Registries {
		if r.Trouble != nil {
			parts = append(parts, fmt.Sprintf("registry: %v", r.Trouble))
		}
	}
	if len(st.Holds) > 0 {
		parts = append(parts, "held: "+guard.Reasons(st.Holds).String())
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
