package syncer

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/reason"
)

// asked is a witness that takes a second to find out what a server does; of one that it is not told of it finds
// nothing out.
type asked struct {
	mu    sync.Mutex
	want  []netip.AddrPort
	does  map[netip.AddrPort]guard.Answer
	until time.Time // nothing is known before
	takes time.Duration
	news  bool
	runs  int
}

func newAsked() *asked {
	return &asked{does: map[netip.AddrPort]guard.Answer{}, takes: time.Second}
}

func (a *asked) Run(ctx context.Context, heard func()) {
	a.mu.Lock()
	a.runs++
	a.mu.Unlock()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.mu.Lock()
			now := a.news && !time.Now().Before(a.until)
			a.news = a.news && !now
			a.mu.Unlock()
			if now {
				heard()
			}
		}
	}
}

func (a *asked) Ask(servers []netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.want) == 0 && len(servers) > 0 {
		a.until, a.news = time.Now().Add(a.takes), true
	}
	a.want = servers
	return len(servers) > 0 && time.Now().Before(a.until)
}

func (a *asked) Answer(server netip.AddrPort) guard.Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().Before(a.until) || !slices.Contains(a.want, server) {
		return guard.Untried
	}
	return a.does[server]
}

// are says what servers 10.0.0.N:80 do.
func (a *asked) are(does guard.Answer, numbers string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.news = true
	for _, n := range strings.Fields(numbers) {
		a.does[netip.MustParseAddrPort("10.0.0."+n+":80")] = does
	}
}

// What is dead goes without a person, and nobody hears of a hold that was none.
func TestWhatIsDeadGoes(t *testing.T) {
	run(t, "with that proof", 1, 1, func(t *testing.T, w *world) {
		a := newAsked()
		w.witness = a
		a.are(guard.Refused, "1 2 3 4")
		a.are(guard.Answered, "5")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5")
		w.pass(time.Minute)
		w.registries[0].publish("a: 5")
		w.pass(100 * time.Millisecond)
		w.wantStored("a: 1 2 3 4 5")
		if st := w.syncer.Status(); len(st.Holds) != 0 || len(st.OnTrial) != 1 {
			t.Errorf("holds %+v, on trial %+v", st.Holds, st.OnTrial)
		}
		w.pass(2 * time.Second)
		w.wantStored("a: 5")
		if st := w.syncer.Status(); len(st.Holds)+len(st.OnTrial) != 0 {
			t.Errorf("in the end holds %+v, on trial %+v", st.Holds, st.OnTrial)
		}
		if n := len(w.told.of(EventHeld)) + len(w.told.of(EventHoldEnded)); n != 0 {
			t.Errorf("%d events tell of a hold", n)
		}
		proven := w.told.of(EventProven)
		const text = "none of 4 servers answers from here: they go, though max_removal would hold them"
		if len(proven) != 1 || proven[0].Out != 4 || proven[0].Text.String() != text {
			t.Errorf("events %+v", proven)
		}
		w.pass(time.Millisecond)
		if len(w.told.of(EventProven)) != 0 || len(a.want) != 0 {
			t.Errorf("it is proven again, or asked for: %v", a.want)
		}
	})
}

// What is alive is held, and is told of once, with the figures.
func TestWhatIsAliveIsHeld(t *testing.T) {
	run(t, "with the figures", 1, 1, func(t *testing.T, w *world) {
		a := newAsked()
		w.witness = a
		a.are(guard.Answered, "1 2 3 5")
		a.are(guard.Refused, "4")
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3 4 5")
		w.pass(time.Minute)
		w.registries[0].publish("a: 5")
		w.pass(time.Minute)
		w.wantStored("a: 1 2 3 4 5")
		held := w.told.of(EventHeld)
		const text = "4 of 5 servers would go, max_removal allows 50%: removals are held; 3 of 4 still accept connections"
		if len(held) != 1 || held[0].Text.String() != text {
			t.Errorf("events %+v", held)
		}
		a.mu.Lock()
		a.until = time.Now().Add(time.Second) // it looks again
		a.mu.Unlock()
		w.registries[0].publish("a: 4 5") // the hold is another one, and goes on with this
		w.pass(100 * time.Millisecond)
		if len(w.told.of(EventHeld)) != 1 || len(w.told.of(EventHoldEnded)) != 0 || len(w.syncer.Status().Holds) != 1 {
			t.Error("it is told of another hold only when the witness is heard")
		}
		a.are(guard.Refused, "1 2 3")
		w.pass(2 * time.Second)
		w.wantStored("a: 4 5")
		if len(w.told.of(EventHoldEnded)) != 1 || len(w.told.of(EventProven)) != 1 {
			t.Error("its end is not told of")
		}
	})
}

// A witness that finds nothing out keeps nobody from witnessWait of a hold for long, nor of one that is there already.
func TestAWitnessThatIsSilent(t *testing.T) {
	run(t, "a hold is told of", 1, 1, func(t *testing.T, w *world) {
		a := newAsked()
		w.witness = a
		w.start(guard.DefaultConfig())
		defer func() { w.stop() }()
		w.registries[0].publish("a: 1 2 3 4 5")
		w.pass(time.Minute)
		a.mu.Lock()
		a.want, a.until = []netip.AddrPort{{}}, time.Now().Add(time.Hour) // every answer is to come
		a.mu.Unlock()
		w.registries[0].publish("a: 5")
		w.pass(witnessWait - time.Millisecond)
		if n := len(w.told.of(EventHeld)); n != 0 {
			t.Errorf("%d events tell of it before", n)
		}
		w.pass(50 * time.Millisecond)
		if n := len(w.told.of(EventHeld)); n != 1 {
			t.Errorf("%d events tell of it", n)
		}
		w.registries[0].publish("a: 4 5") // another hold, that goes on with it
		w.pass(soon)
		if n := len(w.told.of(EventHeld)); n != 1 {
			t.Errorf("%d events tell of the other one", n)
		}
		w.stop()
		w.start(guard.DefaultConfig())
		w.registries[0].publish("a: 4 5")
		w.pass(soon)
		if n := len(w.told.of(EventHeld)); n != 1 {
			t.Errorf("%d events tell of it after a restart", n)
		}
	})
}

// One pass waits for the witness, and not for ever.
func TestOnePassHearsTheWitness(t *testing.T) {
	for name, tt := range map[string]struct {
		dead    string
		silent  bool
		instant bool
		takes   time.Duration
		stored  string
		holding int
	}{
		"all is known at once": {"1 2 3 4", false, true, 0, "a: 5", 0},
		"all are dead":         {"1 2 3 4", false, false, time.Second, "a: 5", 0},
		"one is alive":         {"2 3 4", false, false, time.Second, "a: 1 2 3 4 5", 1},
		"nothing is found out": {"", true, false, witnessWait, "a: 1 2 3 4 5", 1},
	} {
		for _, dry := range []bool{false, true} {
			run(t, name, 1, 1, func(t *testing.T, w *world) {
				a := newAsked()
				w.witness = a
				a.are(guard.Answered, "1 5")
				a.are(guard.Refused, tt.dead)
				w.store.gen.Number, w.store.gen.Set = 1, set("a: 1 2 3 4 5")
				if tt.instant {
					a.takes = 0
				}
				if tt.silent {
					a.want, a.until = []netip.AddrPort{{}}, time.Now().Add(time.Hour)
				}
				w.registries[0].publish("a: 5")
				began := time.Now()
				out, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Minute, DryRun: dry})
				if err != nil || len(out.Holds) != tt.holding {
					t.Errorf("holds %+v, %v", out.Holds, err)
				}
				if took := time.Since(began); took < tt.takes || took > tt.takes+time.Second {
					t.Errorf("it took %s", took)
				}
				want := tt.stored
				if dry {
					want = "a: 1 2 3 4 5"
				}
				w.wantStored(want)
				if got := len(out.Written.Updated); got != 1-tt.holding {
					t.Errorf("%d upstreams are changed", got)
				}
			})
		}
	}
}

// A pass that holds nothing asks nobody.
func TestOnePassAsksNobody(t *testing.T) {
	run(t, "where nothing is held", 1, 1, func(t *testing.T, w *world) {
		a := newAsked()
		w.witness = a
		w.store.gen.Number, w.store.gen.Set = 1, set("a: 1 2 3 4 5")
		w.registries[0].publish("a: 1 2 3 4")
		if _, err := New(w.parts(guard.DefaultConfig())).RunOnce(t.Context(), Once{Limit: time.Minute}); err != nil || a.runs != 0 {
			t.Errorf("%d runs, %v", a.runs, err)
		}
	})
}

func ranges(t *testing.T, list ...string) []netip.Prefix {
	t.Helper()
	all, err := guard.ParseRanges("allow_addresses", list)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What listens for this machine alone is asked by nobody because a registry says so, unless a person names it.
func TestForbidden(t *testing.T) {
	none, loopback := Reach{}, Reach{Allow: ranges(t, "127.0.0.0/8", "10.0.0.0/8", "::1/128")}
	own := Reach{
		Own:   []Own{{Of: reason.Text("the status page"), Addr: netip.MustParseAddrPort("0.0.0.0:9180")}},
		Local: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, Allow: loopback.Allow,
	}
	everything := Reach{Allow: ranges(t, "0.0.0.0/0", "::/0")}
	for addr, tt := range map[string]struct{ none, loopback, everything bool }{
		"10.0.0.1:80":           {true, true, true},
		"127.0.0.1:80":          {false, true, false},
		"127.1.2.3:80":          {false, true, false},
		"[::1]:80":              {false, true, false},
		"[::ffff:127.0.0.1]:80": {false, true, false},
		"[64:ff9b::7f00:1]:80":  {false, false, false},
		"[2002:7f00:1::]:80":    {false, false, false},
		"0.0.0.0:80":            {false, false, false},
		"[::]:80":               {false, false, false},
		"169.254.169.254:80":    {false, false, false},
		"[fe80::1]:80":          {false, false, false},
		"224.0.0.1:80":          {false, false, false},
		"[ff02::1]:80":          {false, false, false},
		"255.255.255.255:80":    {false, false, false},
		"[2001:db8::1]:80":      {true, false, true},
	} {
		a := netip.MustParseAddrPort(addr)
		for name, r := range map[string]struct {
			reach Reach
			may   bool
		}{"none": {none, tt.none}, "loopback": {loopback, tt.loopback}, "everything": {everything, tt.everything}} {
			if why := r.reach.Forbids(a); why.IsZero() != r.may {
				t.Errorf("%s with %s allowed: %q", addr, name, why)
			}
		}
	}
	for _, addr := range []string{"10.0.0.9:9180", "127.0.0.1:9180", "127.0.0.7:9180"} {
		if own.Forbids(netip.MustParseAddrPort(addr)).IsZero() {
			t.Errorf("%s is our own", addr)
		}
	}
	for addr, here := range map[string]bool{"10.0.0.9": true, "127.0.0.1": true, "::1": true, "::ffff:10.0.0.9": true, "10.0.0.8": false} {
		if own.Here(netip.MustParseAddr(addr)) != here {
			t.Errorf("%s is here: %t", addr, !here)
		}
	}
}
