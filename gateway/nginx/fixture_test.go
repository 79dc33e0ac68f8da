package nginx_test

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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/gateway"
	"swallowkeeper/gateway/gatewaytest"
	"swallowkeeper/gateway/nginx"
	doubled "swallowkeeper/gateway/nginx/nginxtest"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/internal/nginxproc"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/upstream"
)

const workers = 2

// rig is an nginx, real or not, with a gateway's folder that it includes and trouble between the two.
type rig struct {
	*faults
	dir    string // of the generations
	theirs string // a folder of the operator's, which nginx includes in its server
	pid    string // the pid file
	addr   string
	double *doubled.Server // nil where it is real
}

// double is a rig on the double.
func double(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	conf := filepath.Join(filepath.Dir(r.dir), "nginx.conf")
	write(t, conf, "worker_processes 2;\nevents {}\nhttp {\n"+r.includes("127.0.0.1:80")+"}\n")
	var err error
	if r.double, err = doubled.Start(doubled.Options{Conf: conf, Table: t.TempDir(), Workers: workers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.double.Close)
	r.pid, r.addr = r.double.PIDFile(), r.double.Addr()
	r.begin(t, r.double)
	return r
}

// debian is a rig on Debian's nginx.
func debian(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	home := filepath.Dir(r.dir)
	r.addr, r.pid = nginxtest.Free(t), filepath.Join(home, "pid")
	r.start(t)
	r.begin(t, nginx.System())
	return r
}

// start starts Debian's nginx.
func (r *rig) start(t *testing.T) {
	t.Helper()
	nginxtest.StartMaster(t, nginxtest.Nginx, filepath.Dir(r.dir), "user root; worker_processes 2;", r.includes(r.addr), r.addr)
}

func newRig(t *testing.T) *rig {
	home := t.TempDir()
	r := &rig{dir: filepath.Join(home, "swallowkeeper"), theirs: filepath.Join(home, "theirs")}
	if err := os.Mkdir(r.theirs, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// includes is what the operator writes.
func (r *rig) includes(listen string) string {
	return fmt.Sprintf("include %s*.upstream.conf;\ninclude %s/current/*.upstream.conf;\nserver { listen %s;\ninclude %s/current/*.location.conf;\ninclude %s/*.conf;\n}\n",
		r.theirs, r.dir, listen, r.dir, r.theirs)
}

func (r *rig) begin(t *testing.T, on nginx.Machine) {
	r.faults = &faults{Machine: on, rig: r, last: map[string]string{}}
	r.proxy(t)
}

// config is that of a gateway to it.
func (r *rig) config() nginx.Config {
	c := nginx.DefaultConfig()
	c.Dir, c.PID, c.Timeout, c.MinInterval, c.MaxOldWorkers = r.dir, r.pid, 2*time.Second, 0, 50
	c.Check = []string{nginxtest.Nginx, "-t", "-c", filepath.Join(filepath.Dir(r.dir), "nginx.conf"), "-e", os.DevNull}
	c.Reload = []string{nginxtest.Nginx, "-s", "reload", "-c", c.Check[3]}
	c.Verify = "http://" + r.between.Addr().String() + "/.swallowkeeper/generation"
	return c
}

// gateway makes one, with another configuration where that is wanted.
func (r *rig) gateway(t *testing.T, change ...func(*nginx.Config)) *nginx.Gateway {
	t.Helper()
	c := r.config()
	for _, f := range change {
		f(&c)
	}
	g := nginx.New(c, quiet(), nginx.On(r.faults))
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

func (r *rig) harness() gatewaytest.Harness {
	return gatewaytest.Harness{
		Workers: workers, Patience: 30 * time.Second,
		New:      func(t *testing.T, _ upstream.Set) gateway.Gateway { return r.gateway(t) },
		Shown:    r.shown,
		Sent:     r.names,
		Lie:      func(upstream string) { r.tell(func() { r.lie = upstream }) },
		Refuse:   func(upstream string) { r.tell(func() { r.refuse = upstream }) },
		OnChange: func(do func()) { r.tell(func() { r.onChange = do }) },
		Hang:     r.hold,
		Stall:    func(worker string) func() { return r.stop(number(worker)) },
		Kill: func(t *testing.T, worker string) {
			if r.double != nil {
				r.double.Kill(number(worker))
			} else if err := syscall.Kill(number(worker), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		// What is written then is what the gateway wrote last.
		Reload: func(t *testing.T, _ upstream.Set) { r.reload(t) },
	}
}

// reload is a reload by somebody else.
func (r *rig) reload(t *testing.T) {
	t.Helper()
	if r.double != nil {
		r.double.Reload()
	} else if err := syscall.Kill(r.master(t), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) stop(pid int) (release func()) {
	if r.double != nil {
		return r.double.Stop(pid)
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}

func (r *rig) master(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(r.pid)
	if err != nil {
		t.Fatal(err)
	}
	return number(strings.TrimSpace(string(text)))
}

// shown is what each worker has: the double says so, and the real one's workers tell the digest of their files.
func (r *rig) shown(t *testing.T) []upstream.Set {
	t.Helper()
	var sets []upstream.Set
	if r.double != nil {
		for _, w := range r.double.Workers() {
			if !w.Leaving {
				sets = append(sets, w.Set)
			}
		}
		return sets
	}
	digests := map[string]string{}
	for end := time.Now().Add(20 * time.Second); len(digests) < workers && time.Now().Before(end); {
		for pid, digest := range ask(t, r.addr, 8) {
			digests[pid] = digest
		}
	}
	for _, digest := range digests {
		sets = append(sets, r.written(t, digest))
	}
	return sets
}

// ask asks over so many connections at once, by worker.
func ask(t *testing.T, addr string, n int) map[string]string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	var asking sync.WaitGroup
	var mu sync.Mutex
	found := map[string]string{}
	for range n {
		asking.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/.swallowkeeper/generation", nil)
			if err != nil {
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if pid, digest, ok := strings.Cut(strings.TrimSpace(string(body)), " "); err == nil && ok && resp.StatusCode == http.StatusOK {
				mu.Lock()
				found[pid] = digest
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	return found
}

// written reads the generation of a digest. It shares no code with the gateway, which it tests.
func (r *rig) written(t *testing.T, digest string) upstream.Set {
	t.Helper()
	folders, err := filepath.Glob(r.dir + "/generation-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		text, err := os.ReadFile(folder + "/generation.location.conf")
		if err != nil || !strings.Contains(string(text), digest) {
			continue
		}
		write(t, folder+"/../all.conf", "include "+folder+"/*.upstream.conf;")
		tree, err := nginxtree.ReadDisk(folder + "/../all.conf")
		if err != nil {
			t.Fatal(err)
		}
		var list []upstream.Upstream
		for _, d := range tree.Top {
			if d.Name() != "upstream" {
				continue
			}
			body := ""
			for _, inner := range d.Block {
				body += inner.String() + "\n"
			}
			options, servers, err := nginxconf.ParseBody([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, upstream.Upstream{Name: d.Args[1], Options: options, Servers: servers})
		}
		return upstream.NewSet(list)
	}
	t.Fatalf("no generation has the digest %s", digest)
	return upstream.Set{}
}

// faults is the machine with trouble on it, and what stands between gateway and nginx.
type faults struct {
	nginx.Machine
	rig     *rig
	between net.Listener

	mu          sync.Mutex
	lie, refuse string
	onChange    func()
	held        chan struct{} // closed when nothing is held any more
	sent        []string
	last        map[string]string // what was there at the last reload
	checks      int
	reloads     int
	say         string // what the check says in place of nginx
}

func (f *faults) tell(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *faults) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// count is how often nginx was told to reload.
func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reloads
}

// hold keeps everything unanswered until it is released.
func (f *faults) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.held = nil
		close(held)
	}
}

func (f *faults) wait(ctx context.Context) error {
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if held == nil {
		return nil
	}
	select {
	case <-held:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pending is the upstreams that the next reload changes, those that go last.
func (f *faults) pending() (changed []string, now map[string]string) {
	now = map[string]string{}
	files, _ := filepath.Glob(f.rig.dir + "/current/*.upstream.conf")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		now[strings.Fields(string(text) + " - -")[1]] = string(text)
	}
	for name, text := range now {
		if f.last[name] != text {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	for name := range f.last {
		if _, is := now[name]; !is {
			changed = append(changed, name)
		}
	}
	return changed, now
}

// Run is nginx -t and nginx -s reload.
func (f *faults) Run(ctx context.Context, argv []string) ([]byte, error) {
	if err := f.wait(ctx); err != nil {
		return nil, err
	}
	if slices.Contains(argv, "reload") {
		return nil, f.change(func() error {
			_, err := f.Machine.Run(ctx, argv)
			return err
		})
	}
	f.mu.Lock()
	changed, now := f.pending()
	refuse, say := f.refuse, f.say
	f.checks++
	f.mu.Unlock()
	if say == "" && slices.Contains(changed, refuse) {
		say = fmt.Sprintf("nginx: [emerg] invalid number of arguments in \"server\" directive in %s/current/%s.upstream.conf:3", f.rig.dir, refuse)
		if _, is := now[refuse]; !is {
			say = fmt.Sprintf("nginx: [emerg] host not found in upstream %q in /etc/nginx/sites-enabled/shop:7", refuse)
		}
	}
	if say != "" {
		return []byte(say + "\nnginx: configuration file /etc/nginx/nginx.conf test failed\n"), errors.New("exit status 1")
	}
	return f.Machine.Run(ctx, argv)
}

// change is a reload on its way.
func (f *faults) change(do func() error) error {
	f.mu.Lock()
	onChange := f.onChange
	f.onChange = nil
	f.mu.Unlock()
	if onChange != nil {
		onChange()
	}
	f.mu.Lock()
	changed, now := f.pending()
	lie := slices.Contains(changed, f.lie)
	f.sent = append(f.sent, changed...)
	f.reloads++
	if !lie {
		f.last = now
	}
	f.mu.Unlock()
	if lie {
		return nil
	}
	return do()
}

func (f *faults) Find(pid int) (nginx.Process, error) {
	p, err := f.Machine.Find(pid)
	return signalled{p, f}, err
}

func (f *faults) Processes() nginxproc.Table { return f.Machine.Processes() }

type signalled struct {
	nginx.Process
	f *faults
}

func (s signalled) Signal(sig os.Signal) error {
	return s.f.change(func() error { return s.Process.Signal(sig) })
}

// proxy passes connections on, unless all is held.
func (f *faults) proxy(t *testing.T) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.between = l
	ctx, cancel := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { f.pass(ctx, in) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		passing.Wait()
	})
}

func (f *faults) pass(ctx context.Context, in net.Conn) {
	defer in.Close()
	if f.wait(ctx) != nil {
		return
	}
	out, err := new(net.Dialer).DialContext(ctx, "tcp", f.rig.addr)
	if err != nil {
		return
	}
	defer out.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })
	defer stop()
	var there sync.WaitGroup
	there.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
	_, _ = io.Copy(in, out)
	_ = in.Close()
	there.Wait()
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func address(t testing.TB, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve serves on loopback until it is stopped.
func serve(t testing.TB, h http.Handler) (addr string, stop func(context.Context)) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return l.Addr().String(), func(ctx context.Context) {
		_ = s.Shutdown(ctx)
		<-ended //nolint:errcheck // it was shut down
	}
}

// slowBackend begins its answers at once, and ends them when it is let.
func slowBackend(t *testing.T, let chan struct{}) string {
	t.Helper()
	at, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Accel-Buffering", "no") // or nginx waits for more before it passes the beginning on
		_ = http.NewResponseController(w).Flush()
		select {
		case <-let:
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(func() { stop(context.Background()) })
	return at
}

// open makes a request that lasts, and says when its answer has begun.
func open(ctx context.Context, addr string, began chan struct{}) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/web/long", nil)
	if err != nil {
		close(began)
		return
	}
	resp, err := client.Do(req)
	close(began)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}
