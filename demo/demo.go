// Package demo shows swallowkeeper at work on one machine with nothing installed: a
// registry that speaks Consul's HTTP API, a gateway that speaks the dyups API and
// carries traffic, services that register themselves, and the real controller between
// them. All of it is in this process and listens on loopback only.
//
// The registry and the gateway are the doubles that the tests use: Consul and nginx are
// simulated, and swallowkeeper is the real one.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/syncer"
)

// Options say where the demo listens and how it talks.
type Options struct {
	Registry, API, Proxy, Page string // listen addresses, host:port; port 0 is any free one
	StoryOnly                  bool   // end after the story
	Out                        io.Writer
	Terminal                   bool // a person looks at Out: colours, and a picture that is redrawn
	// Control runs the real controller between registry and gateway until the context
	// ends. It hands its status function over as soon as it runs.
	Control func(ctx context.Context, w Wiring) error
	// Plain reports whether swallowkeeper's commands find the controller that writes this conf file
	// without being told where it is; nil is no.
	Plain func(ctx context.Context, conf string) bool

	patience time.Duration                   // how long a step may take; 0 is the usual
	around   func(http.Handler) http.Handler // a test's own part in front of each sample service
}

// Wiring is what the controller is put between.
type Wiring struct {
	Registry string                                         // address of the Consul API, http://host:port
	Gateway  string                                         // address of the dyups API, http://host:port
	ConfFile string                                         // path of the conf file to write
	Page     string                                         // address to serve the page at, host:port
	Log      io.Writer                                      // what the controller wants to say to a person
	Started  func(status func() syncer.Status, page string) // page is the page's URL
}

// Validate says what is wrong with the addresses.
func (o Options) Validate() error {
	_, err := o.normal()
	return err
}

// Run plays the story. It returns an error where the demo could not run, or a request
// failed. Without StoryOnly it then stays up until the context ends.
func Run(ctx context.Context, o Options) error {
	o, err := o.normal()
	if err != nil {
		return err
	}
	// From here each part ends before those that it needs.
	dir, err := os.MkdirTemp("", "swallowkeeper-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the conf file: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	conf := filepath.Join(dir, "upstreams.conf")

	registry, err := startRegistry(o.Registry)
	if err != nil {
		return o.explain(err)
	}
	defer registry.close()
	gateway, err := dyupstest.New(dyupstest.Options{
		APIAddr: o.API, ProxyAddr: o.Proxy, Workers: 4, WorkerHeader: true, MaxConns: true, ConfFile: conf,
	})
	if err != nil {
		return o.explain(err)
	}
	defer gateway.Close()
	services := newFleet(registry.url, o.around)
	defer services.close()

	s := &story{
		gateway: gateway, registry: registry, services: services, client: newClient(gateway.Proxy()),
		patience: o.patience, terminal: o.Terminal, conf: conf, began: time.Now(), plain: o.Plain,
	}
	s.view = newView(o.Out, o.Terminal, s.picture)
	defer s.view.close()

	ctx, fail := context.WithCancelCause(ctx)
	control, err := startControl(ctx, fail, o.Control, Wiring{
		Registry: registry.url, Gateway: gateway.API(), ConfFile: conf, Log: s.view, Page: o.Page,
	})
	defer control.wait()
	defer fail(nil)
	if err != nil {
		return o.explain(err)
	}
	s.status, s.page = control.status, control.page
	defer s.client.close()

	s.introduce()
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
	return s.play(ctx)
}

// controller is the real thing at work.
type controller struct {
	status func() syncer.Status
	page   string
	ended  chan struct{}
}

// startControl starts the controller and waits until it runs. Its end ends the context.
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
		fail(fmt.Errorf("the controller ended: %w", err)) // of no effect where it was told to end
	}()
	select {
	case <-started:
		return c, nil
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
}

func (c *controller) wait() { <-c.ended }

// listener is one address of the options.
type listener struct {
	flag, what string
	addr       *string
}

func (o *Options) listeners() []listener {
	return []listener{
		{"registry", "the registry", &o.Registry},
		{"api", "the gateway's dyups API", &o.API},
		{"proxy", "the gateway's traffic", &o.Proxy},
		{"page", "the page", &o.Page},
	}
}

// normal spells the addresses in one way. The demo asks nobody who they are, so it is
// for this machine only.
func (o Options) normal() (Options, error) {
	if o.patience == 0 {
		o.patience = 15 * time.Second
	}
	taken := map[string]string{}
	for _, l := range o.listeners() {
		host, port, err := net.SplitHostPort(*l.addr)
		if host == "" || host == "localhost" {
			host = "127.0.0.1"
		}
		ip, ipErr := netip.ParseAddr(host)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || ipErr != nil || portErr != nil || !ip.IsLoopback() {
			return o, fmt.Errorf("--%s %q: allowed is a loopback address with its port, e.g. 127.0.0.1:8080 or :0 for any free port",
				l.flag, *l.addr)
		}
		*l.addr = netip.AddrPortFrom(ip, uint16(n)).String()
		if first, ok := taken[*l.addr]; ok && n != 0 {
			return o, fmt.Errorf("--%s %s: --%s has that address already", l.flag, *l.addr, first)
		}
		taken[*l.addr] = l.flag
	}
	return o, nil
}

// explain says of an address that can't be had which flag moves it.
func (o Options) explain(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return err
	}
	for _, l := range o.listeners() {
		if op.Addr.String() == *l.addr {
			return fmt.Errorf("%s can't be had for %s (%w): end what uses it, or choose another address with --%s (:0 is any free port)",
				*l.addr, l.what, op.Err, l.flag)
		}
	}
	return err
}
