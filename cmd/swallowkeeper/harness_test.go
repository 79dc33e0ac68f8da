package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/generation"
	"swallowkeeper/internal/consultestserver"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/upstream"
)

// asProgram in the environment makes this test binary the program itself, for tests
// that need a process: signals, locks, kill -9. It is then race-checked like the rest.
const asProgram = "TEST_AS_PROGRAM"

// patience is generous: test machines are busy. What must be quick is measured.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	code := m.Run()
	suite.close()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// suite is what the shared Consul takes for its test: it lives as long as all tests do.
var suite = newLife()

// shared is the one Consul of most tests. Each keeps to services and nodes with a prefix
// of its own.
var shared = sync.OnceValue(func() *consultestserver.Server { return consultestserver.Start(suite) })

type life struct {
	testing.TB
	ctx    context.Context //nolint:containedctx // as in testing.TB
	cancel context.CancelFunc
	failed atomic.Bool
	undo   []func()
}

func newLife() *life {
	l := &life{}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *life) Helper()                           {}
func (l *life) Context() context.Context          { return l.ctx }
func (l *life) Cleanup(f func())                  { l.undo = append(l.undo, f) }
func (l *life) Failed() bool                      { return l.failed.Load() }
func (l *life) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (l *life) Errorf(format string, args ...any) { l.failed.Store(true); l.Logf(format, args...) }
func (l *life) Fatalf(format string, args ...any) {
	l.failed.Store(true)
	panic(fmt.Sprintf(format, args...))
}
func (l *life) Fatal(args ...any) { l.failed.Store(true); panic(fmt.Sprint(args...)) }

func (l *life) TempDir() string {
	dir, err := os.MkdirTemp("", "swallowkeeper-test-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (l *life) close() {
	for _, f := range slices.Backward(l.undo) {
		f()
	}
	l.cancel()
}

// needConsul skips under -short what needs the real Consul.
func needConsul(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Consul")
	}
}

// until waits for a condition; wrong says what is wrong as long as it does not hold.
func until(t testing.TB, limit time.Duration, wrong func() string) {
	t.Helper()
	late := time.NewTimer(limit)
	defer late.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		said := wrong()
		if said == "" {
			return
		}
		select {
		case <-late.C:
			t.Fatalf("not within %s: %s", limit, said)
		case <-tick.C:
		}
	}
}

func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	until(t, limit, func() string {
		if ok() {
			return ""
		}
		return what
	})
}

// rig is one swallowkeeper's surroundings: services in Consul, a conf file, gateways.
type rig struct {
	t      *testing.T
	prefix string // of all its services and nodes
	client *api.Client
	dir    string
	conf   string // the conf file
	toml   string // the configuration
	socket string // the operator's
	// pageAddr is where the page is, "" where there is none.
	pageAddr string
	// nginx are the gateways, gw1 and so on.
	nginx []*dyupstest.Server
	// consul is where the configuration says that Consul is.
	consul string
	// extra goes behind the rest of the configuration; gateways in place of the usual ones.
	extra, registries, gateways string
	// witness is what the guard's witness is, "off" where it is empty: most tests register what is not there.
	witness string
	// own are upstreams that an operator made by hand.
	own []string
}

var rigs atomic.Int32

// newRig makes the surroundings with the shared Consul and one gateway.
func newRig(t *testing.T) *rig {
	t.Helper()
	needConsul(t)
	c := shared()
	r := bareRig(t, c.Addr)
	r.client = c.Client(t)
	return r
}

// ownConsul makes the surroundings with a Consul of its own.
func ownConsul(t *testing.T, opts ...consultestserver.Option) (*rig, *consultestserver.Server) {
	t.Helper()
	needConsul(t)
	c := consultestserver.Start(t, opts...)
	r := bareRig(t, c.Addr)
	r.client = c.Client(t)
	return r, c
}

// bareRig makes the surroundings but for Consul.
func bareRig(t *testing.T, consul string) *rig {
	t.Helper()
	r := &rig{t: t, prefix: fmt.Sprintf("t%d-", rigs.Add(1)), dir: t.TempDir(), consul: consul}
	r.conf = filepath.Join(r.dir, "conf", "upstreams.conf")
	r.toml = filepath.Join(r.dir, "swallowkeeper.toml")
	short, err := os.MkdirTemp("", "sk") //nolint:usetesting // a socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	r.socket = filepath.Join(short, "s")
	if err := os.Mkdir(filepath.Dir(r.conf), 0o755); err != nil {
		t.Fatal(err)
	}
	r.addNginx(dyupstest.Options{})
	return r
}

func (r *rig) addNginx(o dyupstest.Options) *dyupstest.Server {
	r.t.Helper()
	o.Workers, o.WorkerHeader, o.MaxConns, o.ConfFile = 4, true, true, r.conf
	s, err := dyupstest.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	r.nginx = append(r.nginx, s)
	return s
}

// configure writes the configuration.
func (r *rig) configure() *rig {
	r.t.Helper()
	text := "[log]\nlevel = \"debug\"\n"
	if r.registries != "" {
		text += r.registries
	} else {
		text += fmt.Sprintf("[[registry]]\nname = \"consul\"\naddress = %q\ninclude = [%q]\n", r.consul, r.prefix+"*")
	}
	text += fmt.Sprintf("[persist]\npath = %q\n[status]\naddress = %q\nsocket = %q\n", r.conf, r.pageAddr, r.socket)
	if r.pageAddr != "" {
		text += fmt.Sprintf("token = %q\n", pageToken)
	}
	if r.gateways != "" {
		text += r.gateways
	} else {
		for i, s := range r.nginx {
			text += gatewayTable(fmt.Sprintf("gw%d", i+1), s.API())
		}
	}
	witness := "[guard]\nwitness = \"off\"\n"
	if r.witness != "" {
		witness = "[guard]\nwitness = \"" + r.witness + "\"\n"
	}
	text += r.extra
	if before, after, has := strings.Cut(text, "[guard]\n"); has {
		text = before + witness + after
	} else {
		text += "\n" + witness
	}
	if err := os.WriteFile(r.toml, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return r
}

// gatewayTable is a gateway that is compared often and does not wait long.
func gatewayTable(name, address string) string {
	return fmt.Sprintf("[[gateway]]\nname = %q\naddress = %q\nresync = \"500ms\"\ntimeout = \"2s\"\n", name, address)
}

// patient waits for an answer of such a gateway far longer than any test does: what waits for it too is found out
// by the test's own limit, on a loaded machine as on an idle one.
func patient(table string) string {
	return strings.Replace(table, `timeout = "2s"`, `timeout = "5m"`, 1)
}

// instance is one instance of a service in the catalog.
type instance struct {
	addr     string // host:port; without a host the node's address counts
	id       string // its address where empty
	node     string
	nodeAddr string
	status   string // of its own check; passing where empty
	tags     []string
	meta     map[string]string
	weights  api.AgentWeights
	checks   api.HealthChecks // further ones
}

// put registers an instance, or changes it.
func (r *rig) put(service string, i instance) {
	r.t.Helper()
	if err := r.try(service, i); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) try(service string, i instance) error {
	host, port, err := net.SplitHostPort(i.addr)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	if i.id == "" {
		i.id = service + "@" + i.addr
	}
	if i.status == "" {
		i.status = api.HealthPassing
	}
	node := r.prefix + "node" + i.node
	if i.nodeAddr == "" {
		i.nodeAddr = "10.255.0.1"
	}
	checks := api.HealthChecks{{
		Node: node, CheckID: "own:" + i.id, Name: "own", Status: i.status, ServiceID: i.id, ServiceName: r.prefix + service,
	}}
	for _, c := range i.checks {
		c.Node = node
		if c.ServiceID != "" {
			c.ServiceID = i.id
		}
		checks = append(checks, c)
	}
	_, err = r.client.Catalog().Register(&api.CatalogRegistration{
		Node: node, Address: i.nodeAddr,
		Service: &api.AgentService{
			ID: i.id, Service: r.prefix + service, Address: host, Port: n, Tags: i.tags, Meta: i.meta, Weights: i.weights,
		},
		Checks: checks,
	}, nil)
	return err
}

// up registers healthy instances.
func (r *rig) up(service string, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		r.put(service, instance{addr: a})
	}
}

// critical lets the checks of instances fail.
func (r *rig) critical(service string, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		r.put(service, instance{addr: a, status: api.HealthCritical})
	}
}

// gone deregisters instances.
func (r *rig) gone(service string, addrs ...string) {
	r.t.Helper()
	for _, a := range addrs {
		_, err := r.client.Catalog().Deregister(&api.CatalogDeregistration{
			Node: r.prefix + "node", ServiceID: service + "@" + a,
		}, nil)
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// want is upstreams by name, without the rig's prefix, and their addresses, sorted.
type want map[string]string

// inSync waits until the file holds exactly these upstreams, and every worker of the
// gateways exactly what the file holds, hidden options and all.
func (r *rig) inSync(w want, gateways ...*dyupstest.Server) {
	r.t.Helper()
	if gateways == nil {
		gateways = r.nginx
	}
	until(r.t, patience, func() string { return r.wrong(w, gateways) })
}

func (r *rig) wrong(w want, gateways []*dyupstest.Server) string {
	gen, edited, err := persist.Read(r.conf)
	switch {
	case err != nil:
		return err.Error()
	case edited:
		return "the file is not as it was written"
	case len(gateways) == len(r.nginx) && len(gen.Leaving)+len(gen.Pushing) > 0:
		return fmt.Sprintf("the file has notes: leaving %q, pushing %q", gen.Leaving, gen.Pushing)
	}
	if diff := cmp.Diff(w, r.addresses(gen.Set)); diff != "" {
		return "the file (-want +got):\n" + diff
	}
	for i, s := range gateways {
		if said := r.differs(s, gen.Set); said != "" {
			return fmt.Sprintf("gateway %d: %s", i+1, said)
		}
	}
	return ""
}

// differs says in what the workers differ from the set.
func (r *rig) differs(s *dyupstest.Server, set upstream.Set) string {
	model := shown(set)
	for _, worker := range s.Workers() {
		for _, name := range r.own {
			delete(worker.Upstreams, name)
		}
		if diff := cmp.Diff(model, worker.Upstreams); diff != "" {
			return fmt.Sprintf("worker %d (-file +memory):\n%.2000s", worker.PID, diff)
		}
	}
	return ""
}

// addresses lists a set as a test writes it down.
func (r *rig) addresses(s upstream.Set) want {
	got := want{}
	for u := range s.All() {
		var list []string
		for _, srv := range u.Servers {
			text := srv.Addr.String()
			if srv.Down {
				text += " down"
			}
			list = append(list, text)
		}
		got[strings.TrimPrefix(u.Name, r.prefix)] = strings.Join(list, " ")
	}
	return got
}

// shown is a set as dyupstest shows a worker's copy.
func shown(s upstream.Set) map[string]string {
	model := map[string]string{}
	bit := map[bool]int{true: 1}
	for u := range s.All() {
		text := ""
		if u.Options.Method != "" {
			text += u.Options.Method + ";\n"
		}
		if u.Options.Keepalive > 0 {
			text += fmt.Sprintf("keepalive %d;\n", u.Options.Keepalive)
		}
		for _, s := range u.Servers {
			text += fmt.Sprintf("server %s weight=%d max_conns=%d max_fails=%d fail_timeout=%d backup=%d down=%d\n", s.Addr,
				s.Weight, s.MaxConns, s.MaxFails, int(s.FailTimeout.Seconds()), bit[s.Backup], bit[s.Down])
		}
		model[u.Name] = text
	}
	return model
}

// state is all that swallowkeeper could have touched: the conf file's folder, and how
// many changes each gateway was sent.
type state struct {
	Files  map[string]string // content, inode and time of each
	Posts  []int
	Delete []int
}

func (r *rig) state() state {
	r.t.Helper()
	s := state{Files: map[string]string{}}
	entries, err := os.ReadDir(filepath.Dir(r.conf))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			r.t.Fatal(err)
		}
		var text []byte
		if !e.IsDir() { // the history: a write there changes its time
			if text, err = os.ReadFile(filepath.Join(filepath.Dir(r.conf), e.Name())); err != nil {
				r.t.Fatal(err)
			}
		}
		inode := info.Sys().(*syscall.Stat_t).Ino
		s.Files[e.Name()] = fmt.Sprintf("inode %d, written %s\n%s", inode, info.ModTime(), text)
	}
	// The lock's content tells whose it is; its being there is no trace of a write.
	delete(s.Files, ".upstreams.conf.lock")
	for _, n := range r.nginx {
		s.Posts, s.Delete = append(s.Posts, n.Posts()), append(s.Delete, n.Deletes())
	}
	return s
}

func (r *rig) same(before state) {
	r.t.Helper()
	if diff := cmp.Diff(before, r.state()); diff != "" {
		r.t.Errorf("something was touched (-before +after):\n%s", diff)
	}
}

func (r *rig) read() generation.Generation {
	r.t.Helper()
	gen, edited, err := persist.Read(r.conf)
	if err != nil || edited {
		r.t.Fatalf("the conf file: edited %v, %v", edited, err)
	}
	return gen
}

// buffer is what the program says, while it says it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// ran is what one call of the program gave.
type ran struct {
	code           int
	stdout, stderr string
}

func call(t *testing.T, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // a daemon that should have refused to start
	defer cancel()
	var out, errs buffer
	code := run(ctx, args, env, &out, &errs)
	return ran{code, out.String(), errs.String()}
}

// once makes one pass.
func (r *rig) once(args ...string) ran {
	r.t.Helper()
	return call(r.t, nil, append([]string{"--config", r.toml, "--sync-once"}, args...)...)
}

// wants checks a code and parts of what was said on either side.
func (g ran) wants(t *testing.T, code int, parts ...string) {
	t.Helper()
	if g.code != code {
		t.Errorf("exit code %d, want %d", g.code, code)
	}
	for _, p := range parts {
		if !strings.Contains(g.stdout+g.stderr, p) {
			t.Errorf("%q was not said", p)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", g.stdout, g.stderr)
	}
}

// keeper is a daemon at work: in this process, or in one of its own.
type keeper struct {
	t    *testing.T
	log  *buffer
	end  func() // asks it to
	kill func() // does not ask
	pid  int
	done chan struct{}
	code int // once done
}

// daemon starts one within this process.
func (r *rig) daemon(args ...string) *keeper {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &keeper{t: r.t, log: &buffer{}, end: cancel, kill: cancel, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.code = run(ctx, append([]string{"--config", r.toml}, args...), nil, d.log, d.log)
	}()
	r.t.Cleanup(d.cleanup)
	return d
}

// process starts one as a process of its own.
func (r *rig) process(env []string, args ...string) *keeper {
	r.t.Helper()
	return r.processWith(func(*exec.Cmd) {}, env, args...)
}

// processWith is process with a command that is changed before it starts.
func (r *rig) processWith(change func(*exec.Cmd), env []string, args ...string) *keeper {
	r.t.Helper()
	return startProgram(r.t, change, env, append([]string{"--config", r.toml}, args...)...)
}

// startProgram starts the program as a process with a command line.
func startProgram(t *testing.T, change func(*exec.Cmd), env []string, args ...string) *keeper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &keeper{t: t, log: &buffer{}, done: make(chan struct{})}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), exe, args...)
	// With the race detector a program would wait a second before it exits.
	cmd.Env = append([]string{asProgram + "=1", "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.Stdout, cmd.Stderr = d.log, d.log
	change(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.pid = cmd.Process.Pid
	d.end = func() { d.signal(syscall.SIGTERM) }
	d.kill = func() { d.signal(syscall.SIGKILL) }
	go func() {
		defer close(d.done)
		_ = cmd.Wait()
		d.code = cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(d.cleanup)
	return d
}

func (d *keeper) signal(s syscall.Signal) {
	select {
	case <-d.done: // the number may be another's by now
	default:
		_ = syscall.Kill(d.pid, s)
	}
}

// stop ends it and returns its exit code.
func (d *keeper) stop() int {
	d.t.Helper()
	d.end()
	return d.wait()
}

func (d *keeper) wait() int {
	d.t.Helper()
	eventually(d.t, patience, "the daemon ends", func() bool {
		select {
		case <-d.done:
			return true
		default:
			return false
		}
	})
	return d.code
}

func (d *keeper) cleanup() {
	if d.t.Failed() {
		text := d.log.String()
		d.t.Logf("the end of the daemon's log:\n%s", text[max(0, len(text)-8<<10):])
	}
	d.kill()
	<-d.done
}

// says waits until the log has the text.
func (d *keeper) says(text string) {
	d.t.Helper()
	eventually(d.t, patience, "the log says "+strconv.Quote(text), func() bool { return strings.Contains(d.log.String(), text) })
}

// tap stands between swallowkeeper and Consul.
type tap struct {
	addr   string
	silent atomic.Bool
	server *httptest.Server
}

// tapped puts a tap in front of the rig's Consul. change, where not nil, alters each answer.
func (r *rig) tapped(change func(path string, body []byte) []byte) *tap {
	r.t.Helper()
	transport := &http.Transport{DisableCompression: true}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.consul})
	proxy.Transport = transport
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	if change != nil {
		proxy.ModifyResponse = func(resp *http.Response) error {
			body := new(bytes.Buffer)
			_, err := body.ReadFrom(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				return err
			}
			changed := change(resp.Request.URL.Path, body.Bytes())
			resp.Body = readCloser{bytes.NewReader(changed)}
			resp.ContentLength = int64(len(changed))
			resp.Header.Set("Content-Length", strconv.Itoa(len(changed)))
			return nil
		}
	}
	p := &tap{}
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if p.silent.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, req)
	}))
	p.addr = p.server.Listener.Addr().String()
	r.t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
		transport.CloseIdleConnections()
	})
	return p
}

// silence cuts Consul off, or lets it be heard again.
func (p *tap) silence(on bool) {
	p.silent.Store(on)
	if on {
		p.server.CloseClientConnections()
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// baseline makes one pass, so that the conf file and the gateways have these services.
func (r *rig) baseline(services want) {
	r.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(services)) {
		r.up(name, strings.Fields(services[name])...)
	}
	if got := r.once(); got.code != status.ExitInSync {
		got.wants(r.t, status.ExitInSync)
		r.t.FailNow()
	}
	r.inSync(services)
}

// posted lists the bodies posted since the given number of calls, by upstream.
func posted(calls []dyupstest.Call) map[string][]string {
	bodies := map[string][]string{}
	for _, c := range calls {
		if c.Method == http.MethodPost {
			name := strings.TrimPrefix(c.Path, "/upstream/")
			bodies[name] = append(bodies[name], c.Body)
		}
	}
	return bodies
}

// many are addresses in one network.
func many(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i + 1)}), 8080).String()
	}
	return list
}

// hanging is where connections are taken and nothing is said.
func hanging(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the kernel takes them, nobody accepts
	return l.Addr().String()
}

// answering is a server whose answers the test writes itself: its http:// address.
func answering(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}
