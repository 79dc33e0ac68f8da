package docker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"swallowkeeper/registry/docker/dockertest"
	"swallowkeeper/upstream"
)

// spec is a container of a rig.
type spec struct {
	labels   map[string]string
	env      []string
	networks []string
	ignores  bool // it goes on after SIGTERM
	restart  bool // it is started again with its engine
}

// rig is an engine, real or not, with what is done to it.
type rig struct {
	host                                  string
	run                                   func(s spec) (id string)
	signal                                func(id, signal string)
	die, stop, pause, unpause             func(id string)
	rename, disconnect                    func(id, name string)
	crash, revive, freeze, thaw, shutdown func()
}

func doubleRig(t *testing.T) *rig {
	e := dockertest.New(t)
	number := 1
	return &rig{
		host: e.Host(),
		run: func(s spec) string {
			d := dockertest.Spec{Labels: s.labels, Env: s.env, Ignores: s.ignores, Exposed: []string{"8080/tcp"}}
			for i, n := range s.networks {
				number++
				if i == 0 {
					d.Networks = map[string]netip.Addr{}
				}
				d.Networks[n] = dockertest.Addr(fmt.Sprintf("172.%d.0.%d", map[string]int{"web": 30, "other": 31}[n], number))
			}
			return e.Run(d)
		},
		signal: func(id, signal string) {
			e.Kill(id, map[string]string{"HUP": "1", "USR1": "10", "TERM": "15", "KILL": "9", "INT": "2"}[signal])
		},
		die: e.Die, stop: func(id string) { e.Kill(id, "15") }, pause: e.Pause, unpause: e.Unpause, rename: e.Rename, disconnect: e.Disconnect,
		crash: func() { e.Break(dockertest.Refuses) }, revive: e.Mend,
		freeze: func() { e.Break(dockertest.Hangs) }, thaw: e.Mend,
		shutdown: func() { e.Break(dockertest.Refuses) },
	}
}

// shown is a published set in few words.
type shown struct {
	servers map[string][]string
	out     []string
	routes  []string
}

func (s shown) says(text string) bool {
	return slices.ContainsFunc(s.out, func(o string) bool { return strings.Contains(o, text) })
}

// watcher keeps what is published.
type watcher struct {
	t  *testing.T
	r  *Registry
	mu sync.Mutex
	// all are the sets so far.
	all []shown
}

func show(set upstream.Set) shown {
	s := shown{servers: map[string][]string{}}
	for u := range set.All() {
		s.servers[u.Name] = []string{}
		for _, v := range u.Servers {
			s.servers[u.Name] = append(s.servers[u.Name], v.Addr.String())
		}
		for _, r := range u.Routes {
			s.routes = append(s.routes, u.Name+" "+r.Text())
		}
	}
	for _, o := range set.Out() {
		s.out = append(s.out, strings.TrimSpace(fmt.Sprintf("%s %s%s: %s", o.Service, o.Addr, o.Route, o.Reason)))
	}
	return s
}

func follow(t *testing.T, r *Registry) *watcher {
	t.Helper()
	w := &watcher{t: t, r: r}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Watch(ctx, func(set upstream.Set) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all = append(w.all, show(set))
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return w
}

func (w *watcher) now() shown {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) == 0 {
		return shown{}
	}
	return w.all[len(w.all)-1]
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// await waits for a set.
func (w *watcher) await(what string, is func(shown) bool) {
	w.t.Helper()
	w.until(what, func() bool { return w.count() > 0 && is(w.now()) })
}

func (w *watcher) until(what string, is func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !is(); {
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("%s: not within a minute; now %+v, %v", what, w.now(), w.r.Condition().Trouble)
		}
	}
}

// has waits until so many servers of web are in.
func (w *watcher) has(n int) {
	w.t.Helper()
	w.await(fmt.Sprintf("%d servers", n), func(s shown) bool { return len(s.servers["web"]) == n })
}

func (w *watcher) explained(name string) string {
	w.t.Helper()
	found, err := w.r.Explain(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprintf("%s in=%v %s", f.Addr, f.In, f.Reason))
	}
	return strings.Join(all, "\n")
}

func web(networks ...string) spec {
	if len(networks) == 0 {
		networks = []string{"web"}
	}
	return spec{labels: map[string]string{"swallowkeeper.name": "web"}, networks: networks}
}

func TestBehaviourOnDouble(t *testing.T) { behaviour(t, doubleRig) }

// behaviour is what happens to containers and their engine, and what becomes of that.
func behaviour(t *testing.T, start func(t *testing.T) *rig) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, e *rig)
	}{
		{"stopped", stopped},
		{"ignores its stop signal", ignores},
		{"a signal that stops nothing", signalled},
		{"ends by itself", endsByItself},
		{"paused", paused},
		{"renamed", renamed},
		{"off a network", disconnected},
		{"a port that is not published", unpublished},
		{"labels that are wrong", mislabelled},
		{"a burst", burst},
		{"the engine hangs", hangs},
		{"the engine is killed", killed},
		{"the engine is shut down", shutDown},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, start(t)) })
	}
}

func stopped(t *testing.T, e *rig) {
	one, two := e.run(web()), e.run(web())
	r := open(t, e.host, nil)
	w := follow(t, r)
	w.has(2)
	e.stop(one)
	w.has(1)
	if err := r.Stop(t.Context(), two); err != nil {
		t.Error(err)
	}
	w.await("both are gone", func(s shown) bool { _, is := s.servers["web"]; return !is })
	if got := w.explained("web"); !strings.Contains(got, "it does not run: its state is exited") {
		t.Errorf("explained:\n%s", got)
	}
}

// ignores: it is out from its stop signal on, and in again when the time to stop is over.
func ignores(t *testing.T, e *rig) {
	s := web()
	s.ignores = true
	id := e.run(s)
	r := open(t, e.host, nil)
	r.back = 3 * time.Second
	w := follow(t, r)
	w.has(1)
	e.signal(id, "TERM")
	told := time.Now()
	w.await("out", func(s shown) bool { return s.says("it was told to stop, by SIGTERM") })
	if waited := time.Since(told); waited > 2*time.Second {
		t.Errorf("out only after %s", waited)
	}
	w.has(1)
	if waited := time.Since(told); waited < r.back {
		t.Errorf("in again after %s", waited)
	}
	if got := w.explained("web"); !strings.Contains(got, "it was told to stop by SIGTERM, and still runs after 3s") {
		t.Errorf("explained:\n%s", got)
	}
}

func signalled(t *testing.T, e *rig) {
	id := e.run(web())
	w := follow(t, open(t, e.host, nil))
	w.has(1)
	e.signal(id, "HUP")
	e.signal(id, "USR1")
	s := web()
	s.labels = map[string]string{"swallowkeeper.name": "marker"}
	e.run(s)
	w.await("what came after", func(s shown) bool { return len(s.servers["marker"]) == 1 })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.all {
		if len(s.servers["web"]) != 1 {
			t.Errorf("a signal took it out: %+v", s)
		}
	}
}

func endsByItself(t *testing.T, e *rig) {
	id := e.run(web())
	e.run(web())
	w := follow(t, open(t, e.host, nil))
	w.has(2)
	e.die(id)
	w.has(1)
}

func paused(t *testing.T, e *rig) {
	id := e.run(web())
	w := follow(t, open(t, e.host, nil))
	w.has(1)
	e.pause(id)
	w.await("out", func(s shown) bool { return s.says("it is paused") })
	e.unpause(id)
	w.has(1)
}

func renamed(t *testing.T, e *rig) {
	id := e.run(web())
	w := follow(t, open(t, e.host, nil))
	w.has(1)
	before := w.count()
	e.rename(id, "another-name")
	w.until("the new name", func() bool { return strings.Contains(w.explained("web"), `"another-name"`) })
	if w.count() != before || len(w.now().servers["web"]) != 1 {
		t.Errorf("a new name changed something: %+v", w.all)
	}
}

func disconnected(t *testing.T, e *rig) {
	id := e.run(web("web", "other"))
	r := open(t, e.host, nil)
	w := follow(t, r)
	w.await("on two networks", func(s shown) bool { return s.says("on 2 networks: set swallowkeeper.network") })
	e.disconnect(id, "other")
	w.has(1)
	e.disconnect(id, "web")
	w.await("on none", func(s shown) bool {
		servers, is := s.servers["web"]
		return is && len(servers) == 0 && s.says("it has no address on a network")
	})
}

// unpublished: one that can't be reached is out, with what to do, and another one is in.
func unpublished(t *testing.T, e *rig) {
	e.run(web())
	other := web()
	other.labels = map[string]string{"swallowkeeper.name": "other", "swallowkeeper.port": "9"}
	e.run(other)
	w := follow(t, open(t, e.host, func(c *Config) { c.Address = published }))
	w.await("both are out", func(s shown) bool {
		return len(s.servers["web"]) == 0 && s.says("web : port 8080 is not published: docker run --publish") && s.says("other : port 9 is not published")
	})
}

// mislabelled: what a label may not say puts the route out, and not its container.
func mislabelled(t *testing.T, e *rig) {
	s := web()
	want := map[string]string{
		"/a;b": `path "/a;b": ';' is not allowed in a path`, "/x/../y": `path "/x/../y": ".." is not allowed as a segment`, "~ ^/x": `route "~ ^/x": write HOST/PATH or /PATH`,
		"/a%20b": `path "/a%20b": '%' is not allowed in a path`, "/" + strings.Repeat("a", 600): "it has 601 bytes, at most 512 are allowed",
	}
	i := 1
	for path := range want {
		i++
		s.labels["swallowkeeper.route."+strconv.Itoa(i)] = path
	}
	s.labels["swallowkeeper.route"] = "/right/*"
	e.run(s)
	w := follow(t, open(t, e.host, nil))
	w.has(1)
	for path, reason := range want {
		if !w.now().says(reason) {
			t.Errorf("of %.20s nothing says %s: %q", path, reason, w.now().out)
		}
	}
	if got := w.now().routes; len(got) != 1 || got[0] != "web /right/* from=dc" {
		t.Errorf("its routes are %q", got)
	}
}

// burst: three hundred events within a second or more are a few reads, however fast a list is read.
func burst(t *testing.T, e *rig) {
	id := e.run(web())
	r := open(t, e.host, func(c *Config) { c.Resync = time.Minute })
	meter, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.reads = meter.(*prometheus.CounterVec)
	w := follow(t, r)
	w.has(1)
	began := time.Now()
	for i := range 320 {
		e.rename(id, "burst-"+strconv.Itoa(i))
		gap := 3 * time.Millisecond
		if i >= 300 { // each of these has its second look before the next one comes
			gap = pace * 7 / 5
		}
		<-time.After(gap)
	}
	e.run(web())
	w.has(2)
	reads := testutil.ToFloat64(r.reads.WithLabelValues("dc", "ok"))
	if most := time.Since(began).Seconds()/pace.Seconds() + 4; reads > most {
		t.Errorf("%v reads, at most %v were due", reads, most)
	}
}

// unchanged wants a trouble, and nothing published because of it.
func (w *watcher) unchanged(within func()) {
	w.t.Helper()
	before := w.count()
	within()
	w.until("trouble", func() bool { return w.r.Condition().Trouble != nil })
	if now := w.count(); now != before {
		w.t.Errorf("published in trouble: %+v", w.all[before:])
	}
}

func hangs(t *testing.T, e *rig) {
	e.run(web())
	r := open(t, e.host, nil)
	w := follow(t, r)
	w.has(1)
	w.unchanged(e.freeze)
	if said := r.Condition().Trouble.Error(); !strings.Contains(said, "no answer in 1s") {
		t.Errorf("it says %s", said)
	}
	e.thaw()
	w.until("well again", func() bool { return r.Condition().Trouble == nil })
	e.run(web())
	w.has(2)
}

func killed(t *testing.T, e *rig) {
	s := web()
	s.restart = true
	e.run(s)
	r := open(t, e.host, nil)
	w := follow(t, r)
	w.has(1)
	w.unchanged(e.crash)
	e.revive()
	w.until("well again", func() bool { return r.Condition().Trouble == nil })
	w.has(1)
	e.run(web())
	w.has(2) // it hears again
}

// shutDown: what the engine ends is said as long as it answers; afterwards it is unknown.
func shutDown(t *testing.T, e *rig) {
	s := web()
	s.restart = true
	e.run(s)
	r := open(t, e.host, nil)
	w := follow(t, r)
	w.has(1)
	e.shutdown()
	w.until("trouble", func() bool { return r.Condition().Trouble != nil })
	e.revive()
	w.until("well again", func() bool { return r.Condition().Trouble == nil })
	w.has(1)
}

// sameAnswers asks the double and the real engine the same.
func sameAnswers(t *testing.T, rigs ...*rig) {
	t.Helper()
	var answers []string
	for _, e := range rigs {
		s := web("web")
		s.labels["swallowkeeper.route"] = "shop.example/a/*"
		s.env = []string{"SERVICE_TAGS=a,b"}
		e.run(s)
		other := spec{networks: []string{"web"}, env: []string{"SERVICE_NAME=api"}, labels: map[string]string{"swallowkeeper.port": "http"}}
		e.run(other)
		e.run(spec{networks: []string{"web"}})
		e.run(spec{networks: []string{"web"}, labels: map[string]string{swarmService: "shop", chipmunksAuth: "/auth"}})
		r := open(t, e.host, nil)
		n, err := r.connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		instances, err := r.instances(t.Context(), n, false, false)
		if err != nil {
			t.Fatal(err)
		}
		_, missing := r.inspect(t.Context(), n, strings.Repeat("0", 64))
		_, notManager := r.services(t.Context(), n)
		n.close()
		text := fmt.Sprintf("%v\n%v\n", strings.ReplaceAll(missing.Error(), e.host, "HOST"), strings.ReplaceAll(notManager.Error(), e.host, "HOST"))
		slices.SortFunc(instances, func(a, b Instance) int { return strings.Compare(a.Service, b.Service) })
		for _, i := range instances {
			text += fmt.Sprintf("%s %d %v %v %s %v %v %v\n", i.Service, i.Port, i.Reached, i.Tags, i.Out, i.Routes, i.Bad, len(i.ID))
		}
		answers = append(answers, text)
	}
	if answers[0] != answers[1] {
		t.Errorf("they differ:\n%s\n%s", answers[0], answers[1])
	}
}
