// Package demo shows swallowkeeper at work on one machine with nothing installed: a simulated registry, a simulated
// nginx that carries traffic, services, and the real controller between them. All of it is in this process and listens on
// loopback only.
//
// What is simulated are the doubles that the tests use. What happens is a story, of which there are several: each is a file,
// and a line of [stories].
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/registry"
	"swallowkeeper/syncer"
)

// stories returns all stories, the default first.
func stories() []story { return []story{aboutConsul(), aboutDocker()} }

// Options configure the demo.
type Options struct {
	Story                      string // "" for the default
	Registry, API, Proxy, Page string // listen addresses, host:port; port 0 means any free port
	StoryOnly                  bool   // end after the story
	Out                        io.Writer
	Terminal                   bool // Out is a terminal: use colours and redraw the picture
	// Control runs the real controller between registry and gateway until the context ends. It passes on its status
	// function once it runs.
	Control func(ctx context.Context, w Wiring) error
	// Plain reports whether swallowkeeper's commands find the controller with this conf file without flags; nil means
	// no.
	Plain func(ctx context.Context, conf string) bool

	patience time.Duration                   // timeout of a step; 0 for the default
	around   func(http.Handler) http.Handler // wraps each sample service, for tests
}

// Wiring connects the controller.
type Wiring struct {
	RegistryType, GatewayType string
	Registry                  registry.Config
	Gateway                   gateway.Config
	Guard                     guard.Config
	ConfFile                  string                                         // path of the conf file to write
	Page                      string                                         // listen address of the page, host:port
	Log                       io.Writer                                      // for the controller's messages
	Started                   func(status func() syncer.Status, page string) // page is the page's URL
}

// Stories lists all stories with a description, one line each.
func Stories() []string {
	var all []string
	for _, s := range stories() {
		all = append(all, fmt.Sprintf("%-8s %s", s.name, s.about))
	}
	return all
}

// Fill sets the addresses without a flag to the story's defaults, and the page's.
func (o *Options) Fill(given func(flag string) bool) {
	st, err := o.story()
	if err != nil {
		return // Validate reports it
	}
	for _, a := range o.listeners(st) {
		if !given(a.flag) {
			*o.at(a.flag) = a.usual
		}
	}
}

// Usual describes the default of an address flag for each story.
func Usual(flag string) string {
	var all []string
	for _, st := range stories() {
		for _, a := range st.addresses {
			if a.flag == flag {
				all = append(all, st.name+" "+a.usual)
			}
		}
	}
	return strings.Join(all, ", ")
}

// Validate returns what is wrong with the addresses.
func (o Options) Validate() error {
	_, err := o.normal()
	return err
}

// Run plays the story. It returns an error if the demo could not run, or a request failed. Without StoryOnly it then
// stays up until the context ends.
func Run(ctx context.Context, o Options) error {
	o, err := o.normal()
	if err != nil {
		return err
	}
	st, err := o.story()
	if err != nil {
		return err
	}
	// From here on, each part is closed before those that it needs.
	dir, err := os.MkdirTemp("", "swallowkeeper-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the conf file: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	s := &stage{
		options: o, dir: dir, conf: filepath.Join(dir, "upstreams.conf"), began: time.Now(), services: &fleet{around: o.around},
		started: map[string]int{}, up: map[string][]*instance{},
	}
	s.view = newView(o.Out, o.Terminal, s.picture)
	defer s.close()
	defer s.services.close()
	if s.play, err = st.open(s); err != nil {
		return o.explain(st, err)
	}
	s.client = newClient(s.url)
	defer s.view.close()

	limits := guard.DefaultConfig()
	limits.Recovery = cmp.Or(s.recovery, limits.Recovery)
	ctx, fail := context.WithCancelCause(ctx)
	control, err := startControl(ctx, fail, o.Control, Wiring{
		RegistryType: s.registryType, Registry: s.registry, GatewayType: s.gatewayType, Gateway: s.gateway,
		Guard: limits, ConfFile: s.conf, Log: s.view, Page: o.Page,
	})
	defer control.wait()
	defer fail(nil)
	if err != nil {
		return o.explain(st, err)
	}
	s.status, s.page = control.status, control.page
	defer s.client.close()

	s.view.say("%s", s.intro())
	s.view.start()
	switch err := s.tell(ctx); {
	case err != nil && !o.StoryOnly && errors.Is(err, context.Canceled):
		s.view.hide()
		s.view.say("\nEnded in the middle of the story.")
		return nil
	case err != nil:
		return fmt.Errorf("the story did not come to its end: %w", err)
	case o.StoryOnly:
		return nil
	}
	return s.playOn(ctx)
}

// controller is the running controller.
type controller struct {
	status func() syncer.Status
	page   string
	ended  chan struct{}
}

// startControl starts the controller and waits until it runs. If it ends, the context ends too.
func startControl(
	ctx context.Context, fail context.CancelCauseFunc, run func(context.Context, Wiring) error, w Wiring,
) (*controller, error) {
	c := &controller{ended: make(chan struct{})}
	started := make(chan struct{})
	w.Started = func(status func() syncer.Status, page string) {
		c.status, c.page = status, page
		close(started)
	}
	go func() {
		defer close(c.ended)
		err := run(ctx, w)
		if err == nil {
			err = errors.New("it gave no reason")
		}
		fail(fmt.Errorf("the controller ended: %w", err)) // no effect if it was told to end
	}()
	select {
	case <-started:
		return c, nil
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
}

func (c *controller) wait() { <-c.ended }

// story returns the chosen story.
func (o *Options) story() (story, error) {
	all := stories()
	names := make([]string, len(all))
	for i, s := range all {
		if names[i] = s.name; s.name == cmp.Or(o.Story, all[0].name) {
			return s, nil
		}
	}
	return story{}, fmt.Errorf("--story %q: there is no such story, there are %s", o.Story, strings.Join(names, " and "))
}

// listeners returns the addresses of a story.
func (o *Options) listeners(st story) []address {
	return append(slices.Clone(st.addresses), address{"page", "the page", "127.0.0.1:9180"})
}

func (o *Options) at(flag string) *string {
	return map[string]*string{"registry": &o.Registry, "api": &o.API, "proxy": &o.Proxy, "page": &o.Page}[flag]
}

// normal normalizes the addresses. The demo authenticates nobody, so it only allows loopback.
func (o Options) normal() (Options, error) {
	if o.patience == 0 {
		o.patience = 15 * time.Second
	}
	st, err := o.story()
	if err != nil {
		return o, err
	}
	if !slices.ContainsFunc(st.addresses, func(a address) bool { return a.flag == "api" }) && o.API != "" {
		return o, fmt.Errorf("--api %q: the story %s has no dyups API", o.API, st.name)
	}
	taken := map[string]string{}
	for _, l := range o.listeners(st) {
		at := o.at(l.flag)
		host, port, err := net.SplitHostPort(*at)
		if host == "" || host == "localhost" {
			host = "127.0.0.1"
		}
		ip, ipErr := netip.ParseAddr(host)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || ipErr != nil || portErr != nil || !ip.IsLoopback() {
			return o, fmt.Errorf("--%s %q: allowed is a loopback address with its port, e.g. 127.0.0.1:8080 or :0 for any free port",
				l.flag, *at)
		}
		*at = netip.AddrPortFrom(ip, uint16(n)).String()
		if first, ok := taken[*at]; ok && n != 0 {
			return o, fmt.Errorf("--%s %s: --%s has that address already", l.flag, *at, first)
		}
		taken[*at] = l.flag
	}
	return o, nil
}

// explain adds to an error about an address which flag changes it.
func (o Options) explain(st story, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return err
	}
	for _, l := range o.listeners(st) {
		if at := *o.at(l.flag); op.Addr.String() == at {
			return fmt.Errorf("%s can't be had for %s (%w): end what uses it, or choose another address with --%s (:0 is any free port)",
				at, l.what, op.Err, l.flag)
		}
	}
	return err
}
