package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/registry"
	"swallowkeeper/registry/etcd/etcdtest"
)

// quick is a registry that asks a silent watch soon.
func quick(t *testing.T, d *etcdtest.Server, change func(*Config)) (*Registry, *test.Hook) {
	t.Helper()
	r, hook := open(t, d.URL, change)
	r.silence, r.again = 200*time.Millisecond, 20*time.Millisecond
	return r, hook
}

// store is an etcd, real or not, that tests write to.
type store struct {
	t   *testing.T
	url string
	c   *clientv3.Client
}

// both runs a test on the double and on a real etcd.
func both(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	t.Run("double", func(t *testing.T) {
		d := startDouble(t)
		test(t, store{t, d.URL, dial(t, d.URL)})
	})
	t.Run("etcd", func(t *testing.T) {
		server := etcdtestserver.Start(t)
		test(t, store{t, server.URL, dial(t, server.URL)})
	})
}

// put writes keys with their values, in pairs and in one revision.
func (s store) put(pairs ...string) {
	s.t.Helper()
	var ops []clientv3.Op
	for i := 0; i+1 < len(pairs); i += 2 {
		ops = append(ops, clientv3.OpPut(pairs[i], pairs[i+1]))
	}
	etcdctl(s.t, s.c, ops...)
}

func (s store) remove(keys ...string) {
	s.t.Helper()
	var ops []clientv3.Op
	for _, k := range keys {
		ops = append(ops, clientv3.OpDelete(k))
	}
	etcdctl(s.t, s.c, ops...)
}

// two watches two instances of web there.
func (s store) two() *watching {
	s.t.Helper()
	s.put(key("web", "1"), value("10.0.0.1:80"), key("web", "2"), value("10.0.0.2:80"))
	w := begin(s.t, quickTo(s.t, s.url, nil))
	w.until("web[10.0.0.1:80 10.0.0.2:80]")
	return w
}

// two has two instances of web.
func two(t *testing.T) (*etcdtest.Server, *Registry, *watching) {
	t.Helper()
	d := startDouble(t)
	d.Put(key("web", "1"), value("10.0.0.1:80"), key("web", "2"), value("10.0.0.2:80"))
	r, _ := quick(t, d, nil)
	w := begin(t, r)
	w.until("web[10.0.0.1:80 10.0.0.2:80]")
	return d, r, w
}

// Between the list and the watch nothing is lost, and nothing that was written meanwhile.
func TestNothingIsLostBetweenListAndWatch(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		s.put(key("web", "0"), value("10.0.0.1:80"))
		stop, stopped := make(chan struct{}), make(chan struct{})
		t.Cleanup(func() { <-stopped })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			defer close(stopped)
			for i := 1; ctx.Err() == nil; i++ { // always some changes between a list and its watch
				select {
				case <-stop:
					return
				default:
				}
				_, _ = s.c.Put(ctx, key("web", fmt.Sprint(i%50)), value(fmt.Sprintf("10.0.1.%d:80", 1+i%50)))
				_, _ = s.c.Delete(ctx, key("web", fmt.Sprint((i+25)%50)))
			}
		}()
		var all []*watching
		for range 5 {
			w := begin(t, quickTo(t, s.url, nil))
			w.condition("some sets", func() bool { return len(w.all()) > 3 })
			all = append(all, w)
		}
		close(stop)
		<-stopped
		s.put(key("web", "last"), value("10.0.0.2:80"))
		fresh := begin(t, quickTo(t, s.url, nil))
		fresh.condition("a set", func() bool { return len(fresh.all()) > 0 })
		for _, w := range all {
			w.until(show(fresh.all()[0]))
		}
	})
}

func TestOneRevisionIsOneSet(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := s.two()
		s.put(key("web", "1"), value("10.0.0.3:80"), key("web", "2"), value("10.0.0.4:80"), key("api", "1"), value("10.0.0.5:80"))
		w.until("api[10.0.0.5:80] web[10.0.0.3:80 10.0.0.4:80]")
		if n := len(w.all()); n != 2 {
			t.Errorf("one revision became %d sets", n-1)
		}
	})
}

// A burst is no storm of sets.
func TestBurst(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := s.two()
		began := time.Now()
		for i := range 300 {
			s.put(key("web", "1"), value(fmt.Sprintf("10.0.%d.%d:80", 1+i/250, 1+i%250)))
		}
		w.until("web[10.0.0.2:80 10.0.2.50:80]")
		if n, most := len(w.all()), 3+int(time.Since(began)/least); n > most {
			t.Errorf("%d sets within %s, at most %d are due", n, time.Since(began), most)
		}
	})
}

func TestCompactedWhileCutOff(t *testing.T) {
	d, r, w := two(t)
	d.Stop()
	w.trouble("connection refused")
	d.Delete(key("web", "1"))
	d.Put(key("web", "3"), value("10.0.0.3:80"))
	d.Compact()
	d.Put(key("web", "4"), value("10.0.0.4:80"))
	if err := d.Restart(); err != nil {
		t.Fatal(err)
	}
	w.until("web[10.0.0.2:80 10.0.0.3:80 10.0.0.4:80]")
	d.Put(key("web", "5"), value("10.0.0.5:80"))
	w.until("web[10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80]")
	if r.Condition().Lapsed.IsZero() {
		t.Error("nobody is told that it could not be read")
	}
}

// A watch whose revisions were compacted away is no trouble: all is read anew.
func TestCompactedUnderTheWatch(t *testing.T) {
	d := startDouble(t)
	d.Put(key("web", "1"), value("10.0.0.1:80"))
	r, hook := quick(t, d, nil)
	w := &watch{Registry: r, publish: (&watching{more: make(chan struct{}, 1)}).publish, why: whyStart}
	r.table = newTable(&r.cfg, r.name, r.defaults)
	c, err := r.cfg.connect(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := w.list(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	d.Put(key("web", "2"), value("10.0.0.2:80"))
	d.Put(key("web", "3"), value("10.0.0.3:80"))
	d.Compact()
	if why, err := w.follow(t.Context(), c); why != whyCompacted || err != nil {
		t.Errorf("it goes on with %q, %v", why, err)
	}
	r.loops.Wait()
	if r.Condition().Trouble != nil || len(hook.AllEntries()) > 0 || !r.Condition().Lapsed.IsZero() {
		t.Errorf("it is told as a trouble: %v", r.Condition())
	}
}

// The store comes back empty with the same IDs, and says of a watch from the old revision that it is created.
func TestTheStoreLostItsState(t *testing.T) {
	for name, lose := range map[string]func(d *etcdtest.Server){
		"restarted":                       (*etcdtest.Server).Lose,
		"behind a proxy that stays":       (*etcdtest.Server).LoseQuietly,
		"another one in its place":        func(d *etcdtest.Server) { d.Replace(2) },
		"another one, of a high revision": func(d *etcdtest.Server) { d.Replace(1000) },
		"and was written to up to the old revision": func(d *etcdtest.Server) {
			d.LoseQuietly()
			d.Put("/x", "1")
			d.Put(key("web", "1"), value("10.0.0.1:80"))
			for range 20 {
				d.Put("/x", "1")
			}
			d.CutWatches()
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, r, w := two(t)
			for range 10 {
				d.Put("/elsewhere", "x")
			}
			d.Put(key("web", "1"), value("10.0.0.1:81"))
			w.until("web[10.0.0.1:81 10.0.0.2:80]")
			before := time.Now()
			lose(d)
			w.condition("a loss that is told", func() bool { return r.Condition().Lapsed.After(before) })
			d.Put(key("web", "9"), value("10.0.0.9:80"))
			w.condition("what is new", func() bool {
				all := w.all()
				return strings.Contains(show(all[len(all)-1]), "10.0.0.9:80")
			})
			w.well()
			for _, set := range w.all() {
				if set.Servers() == 0 && r.Condition().Lapsed.IsZero() {
					t.Error("an empty set came before it was told that the store lost its state")
				}
			}
		})
	}
}

func TestOlder(t *testing.T) {
	last := header{cluster: 1, revision: 9}
	known := pair{key: key("web", "1"), value: []byte(value("10.0.0.1:80")), revision: 5}
	at := func(revision int64) []pair {
		p := known
		p.revision = revision
		return []pair{p}
	}
	for _, test := range []struct {
		name  string
		last  header
		now   header
		pairs []pair
		want  string
	}{
		{"the first list", header{}, header{1, 1}, at(1), ""},
		{"nothing new", last, last, at(5), ""},
		{"a later state", last, header{1, 12}, at(11), ""},
		{"a later state without the key", last, header{1, 12}, nil, ""},
		{"a lower revision", last, header{1, 8}, at(5), "its revision is lower than before"},
		{"another cluster", last, header{2, 20}, at(15), "it has another cluster ID"},
		{"a key of another history", last, header{1, 20}, at(4), "a key has a lower revision than before"},
	} {
		r, _ := open(t, "http://127.0.0.1:1", nil)
		r.table = newTable(&r.cfg, r.name, r.defaults)
		r.table.put(known)
		w := &watch{Registry: r, last: test.last}
		if got := w.older(test.now, test.pairs); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// A member that lags behind the others has lost nothing.
func TestAMemberThatLags(t *testing.T) {
	d, r, w := two(t)
	d.Put(key("web", "2"), value("10.0.0.9:80"))
	w.until("web[10.0.0.1:80 10.0.0.9:80]") // the watch runs
	d.Behind(2)
	d.CutWatches()
	w.condition("the end of the watch", func() bool { return !r.Condition().Lapsed.IsZero() })
	d.Put(key("web", "3"), value("10.0.0.3:80"))
	w.until("web[10.0.0.1:80 10.0.0.3:80 10.0.0.9:80]")
	lapsed := r.Condition().Lapsed
	d.Put(key("web", "4"), value("10.0.0.4:80"))
	w.until("web[10.0.0.1:80 10.0.0.3:80 10.0.0.4:80 10.0.0.9:80]")
	if r.Condition().Lapsed != lapsed {
		t.Error("it is taken for a loss")
	}
}

// A stream that leaves a change out is found out at the next one of that key.
func TestAGapInTheStream(t *testing.T) {
	d, _, w := two(t)
	d.Skip(1)
	d.Put(key("web", "1"), value("10.0.0.3:80"), key("web", "3"), value("10.0.0.33:80"))
	d.Put(key("web", "1"), value("10.0.0.4:80"))
	w.until("web[10.0.0.2:80 10.0.0.4:80 10.0.0.33:80]")
}

// What no watch tells of is found at the next resync.
func TestResync(t *testing.T) {
	d := startDouble(t)
	r, _ := quick(t, d, func(c *Config) { c.Resync = time.Second })
	w := begin(t, r)
	w.until("")
	d.Skip(1)
	d.Put(key("web", "1"), value("10.0.0.1:80"))
	w.until("web[10.0.0.1:80]")
}

// Without a leader a watch is silent, and hanging servers keep all connections open.
func TestSilence(t *testing.T) {
	for name, test := range map[string]struct {
		on, off func(d *etcdtest.Server)
		says    string
	}{
		"no leader": {func(d *etcdtest.Server) { d.NoLeader(true) }, func(d *etcdtest.Server) { d.NoLeader(false) }, "no leader for 0 s"},
		"hangs":     {func(d *etcdtest.Server) { d.Hang(true) }, func(d *etcdtest.Server) { d.Hang(false) }, "no answer within 5s"},
	} {
		t.Run(name, func(t *testing.T) {
			d, r, w := two(t)
			test.on(d)
			w.trouble(test.says)
			if c := r.Condition(); c.Lapsed.IsZero() || c.Since.IsZero() || !strings.Contains(c.Trouble.Error(), "etcd at "+d.URL) {
				t.Errorf("the condition is %+v", c)
			}
			test.off(d)
			w.well()
			d.Put(key("web", "3"), value("10.0.0.3:80"))
			w.until("web[10.0.0.1:80 10.0.0.2:80 10.0.0.3:80]")
			if n := len(w.all()); n != 2 {
				t.Errorf("%d sets", n)
			}
		})
	}
}

func TestAValueThatIsNotUnderstood(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		w := s.two()
		s.put(key("web", "1"), `{"address":`, key("web", "3"), `{"address":"10.0.0.3:0"}`)
		s.put(key("api", "1"), value("10.0.0.9:80"))
		set := w.until("api[10.0.0.9:80] web[10.0.0.1:80 10.0.0.2:80]")
		want := `web|1||the value of key "/swallowkeeper/services/web/1" is not understood, and its last server 10.0.0.1:80 stays: it is no JSON: it ends too early
web|3||the value of key "/swallowkeeper/services/web/3" is not understood: port 0 is not between 1 and 65535`
		if got := outs(set); got != want {
			t.Errorf("out is\n%s\nwant\n%s", got, want)
		}
		found, err := w.r.Explain(t.Context(), "WEB")
		if err != nil || len(found) != 3 || !found[0].In || !strings.Contains(found[0].Reason.String(), "stays") || found[2].In {
			t.Errorf("explained as %+v, %v", found, err)
		}
		s.put(key("web", "1"), value("10.0.0.7:80"))
		if got := outs(w.until("api[10.0.0.9:80] web[10.0.0.2:80 10.0.0.7:80]")); strings.Contains(got, "web/1") {
			t.Errorf("still out: %s", got)
		}
		s.put(key("web", "1"), "")
		s.remove(key("web", "1"), key("web", "3"))
		if got := outs(w.until("api[10.0.0.9:80] web[10.0.0.2:80]")); got != "" {
			t.Errorf("still out: %s", got)
		}
	})
}

// A value of 6 MB puts its instance out, and stops no other.
func TestAValueOfManyMegabytes(t *testing.T) {
	d := startDouble(t)
	long := fmt.Sprintf(`{"address":"10.0.0.1:80","tags":[%q]}`, strings.Repeat("x", 6<<20))
	for i := range 5 {
		d.Put(key("web", fmt.Sprint("long", i)), long)
	}
	d.Put(key("web", "a"), value("10.0.0.1:80"), key("web", "z"), value("10.0.0.2:80"), key("web", "huge"), strings.Repeat("x", mostMessage+1))
	r, _ := quick(t, d, nil)
	w := begin(t, r)
	set := w.until("web[10.0.0.1:80 10.0.0.2:80]")
	if got := outs(set); strings.Count(got, "it has 62914") != 5 || !strings.Contains(got, `huge" is not understood: it is too long to be read`) {
		t.Errorf("out is %s", got)
	}
	d.Put(key("web", "a"), strings.Repeat("x", mostMessage+1))
	d.Put(key("web", "z"), value("10.0.0.3:80"))
	w.until("web[10.0.0.1:80 10.0.0.3:80]")
}

// What comes counts until it has been taken in, with what comes from others: a list that is too large publishes nothing, and
// says so; one that fits is given back each time.
func TestWhatComesIsCounted(t *testing.T) {
	d := startDouble(t)
	const keys = 40
	write := func(host string) (want string) {
		var servers []string
		for i := range keys {
			at := fmt.Sprintf("%s:%d", host, 1000+i)
			servers = append(servers, at)
			d.Put(key("web", fmt.Sprint(i)), fmt.Sprintf(`{"address":%q,"tags":[%q]}`, at, strings.Repeat("x", 60<<10)))
		}
		return "web[" + strings.Join(servers, " ") + "]"
	}
	want := write("10.0.0.1")
	r, _ := quick(t, d, nil)
	r.budget = budget.New(1 << 20)
	w := begin(t, r)
	w.trouble("with those of others that is more than the 1048576 that all may take at a time")
	if n := len(w.all()); n > 0 {
		t.Errorf("%d sets were published", n)
	}
	few, hook := quick(t, d, nil)
	few.budget = budget.New(8 << 20) // a list and a round's events at a time, but not four rounds
	w = begin(t, few)
	w.until(want)
	for i := range 3 {
		w.until(write(fmt.Sprintf("10.0.0.%d", 2+i)))
	}
	for _, e := range hook.AllEntries() {
		if e.Level <= logrus.WarnLevel {
			t.Errorf("it said %s: %v", e.Message, e.Data)
		}
	}
}

// Keys that don't fit are counted, and named once.
func TestKeysThatDoNotFit(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		s.put("/chipmunks/n1/", "{}", "/chipmunks/n1/shop/c1", `{"host":{"ip":"10.0.0.1","port":80}}`, "/chipmunks/a/b", "", "/chipmunkss/n1/web/c1", "{}")
		r, hook := open(t, s.url, func(c *Config) { c.Layout = "chipmunks" })
		w := begin(t, r)
		w.until("shop[10.0.0.1:80]")
		s.put("/chipmunks/n1/", "{}", "/chipmunks/n2/", "{}")
		s.put("/chipmunks/n1/shop/c2", `{"host":{"ip":"10.0.0.2","port":80}}`)
		w.until("shop[10.0.0.1:80 10.0.0.2:80]")
		said := 0
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "do not fit the layout chipmunks") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("said %d times", said)
		}
		x, err := r.Examine(t.Context())
		if err != nil || len(x.Findings) != 2 || x.Findings[0].Check != "etcd-keys" || len(x.Findings[0].Places) != 3 || x.Findings[1].Check != "etcd-lease" {
			t.Errorf("examined as %+v, %v", x.Findings, err)
		}
	})
}

// A lease that nobody keeps takes its instance along, and no other.
func TestLease(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		lease, err := s.c.Grant(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		etcdctl(t, s.c, clientv3.OpPut(key("web", "1"), value("10.0.0.1:80"), clientv3.WithLease(lease.ID)), clientv3.OpPut(key("web", "2"), value("10.0.0.2:80")))
		w := begin(t, quickTo(t, s.url, nil))
		w.until("web[10.0.0.1:80 10.0.0.2:80]")
		w.until("web[10.0.0.2:80]")
	})
}

// password writes a file with a password.
func password(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAuthentication(t *testing.T) {
	user := func(path string) func(*Config) {
		return func(c *Config) { c.Username, c.PasswordFile = "sk", path }
	}
	for name, test := range map[string]struct {
		change func(t *testing.T) func(*Config)
		prefix string
		says   string
	}{
		"nobody":         {func(*testing.T) func(*Config) { return nil }, "/swallowkeeper/", "needs username and password_file"},
		"wrong password": {func(t *testing.T) func(*Config) { return user(password(t, "s3cret-not")) }, "/swallowkeeper/", "refuses user sk with the password of "},
		"no password":    {func(t *testing.T) func(*Config) { return user(password(t, "")) }, "/swallowkeeper/", "is empty"},
		"elsewhere": {
			func(t *testing.T) func(*Config) { return user(password(t, "s3cret")) }, "/other/",
			"user sk may not read /swallowkeeper/services/: etcdctl role grant-permission ROLE read --prefix /swallowkeeper/services/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDouble(t)
			d.Authentication("sk", "s3cret", test.prefix)
			r, _ := quick(t, d, test.change(t))
			w := begin(t, r)
			w.trouble(test.says)
			if err := r.Condition().Trouble.Error(); strings.Contains(err, "s3cret") {
				t.Errorf("the password is shown: %s", err)
			}
			if len(w.all()) > 0 {
				t.Error("something is published")
			}
		})
	}
	t.Run("turned on, and the token is over", func(t *testing.T) {
		d, _, w := two(t)
		d.Authentication("sk", "s3cret", "/swallowkeeper/")
		w.trouble("needs username and password_file")
		if !(registry.Condition{Trouble: w.r.Condition().Trouble, Since: time.Now().Add(-time.Hour)}).Hopeless(time.Now()) {
			t.Error("trying again is taken to mend it")
		}
		r, _ := quick(t, d, user(password(t, "s3cret")))
		with := begin(t, r)
		with.until("web[10.0.0.1:80 10.0.0.2:80]")
		issued := d.Issued()
		d.ForgetTokens()
		d.CutWatches()
		d.Put(key("web", "3"), value("10.0.0.3:80"))
		with.until("web[10.0.0.1:80 10.0.0.2:80 10.0.0.3:80]")
		with.condition("another token", func() bool { return d.Issued() > issued })
		with.well()
		d.Delete(key("web", "3"))
		with.until("web[10.0.0.1:80 10.0.0.2:80]") // the watch runs
		d.Put(key("web", "3"), value("10.0.0.3:80"))
		with.until("web[10.0.0.1:80 10.0.0.2:80 10.0.0.3:80]")
		lapsed, issued := r.Condition().Lapsed, d.Issued()
		d.ForgetTokens() // a silent watch goes on, and the next question logs in
		with.condition("another token", func() bool { return d.Issued() > issued })
		d.Put(key("web", "4"), value("10.0.0.4:80"))
		with.until("web[10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80]")
		with.well()
		if r.Condition().Lapsed != lapsed {
			t.Error("the end of a token is taken for a failure")
		}
	})
}

// Of several addresses one that answers is enough.
func TestSeveralAddresses(t *testing.T) {
	d := startDouble(t)
	d.Put(key("web", "1"), value("10.0.0.1:80"))
	dead := startDouble(t)
	dead.Stop()
	r, _ := quick(t, d, func(c *Config) { c.Address = []string{dead.URL, d.URL} })
	w := begin(t, r)
	w.until("web[10.0.0.1:80]")
	w.well()
}
