package syncer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
)

// Two processes write one conf file, as two machines do on a share whose locks hold nobody off: a daemon, and others.

// shared is the conf file of a daemon, and of another process.
type shared struct {
	*world
	path  string
	other *other
}

// other is another process: it has the conf file open for itself, and the same gateways.
type other struct {
	*persist.File
	w    *world
	path string
}

func openShared(t *testing.T, path string) *persist.File {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	lock := filepath.Join(filepath.Dir(path), ".u.conf.lock")
	if err := os.Remove(lock); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	c := persist.DefaultConfig()
	c.Path = path
	f, err := persist.Open(c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// share runs a test with a daemon that has written a: 1 2 3 4, b: 5 6, c: 7 8.
func share(t *testing.T, name string, f func(t *testing.T, w *shared)) {
	path := filepath.Join(t.TempDir(), "u.conf")
	run(t, name, 1, 1, func(t *testing.T, w *world) {
		w.file = openShared(t, path)
		s := &shared{w, path, &other{openShared(t, path), w, path}}
		w.start(guard.DefaultConfig())
		w.registries[0].publish(listed)
		w.pass(time.Minute)
		w.wantLive(0, listed)
		f(t, s)
	})
}

const listed = "a: 1 2 3 4, b: 5 6, c: 7 8"

// Save is that of another process, which has another name.
func (o *other) Save(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	g, err := o.File.Save(ctx, g)
	if err != nil {
		return g, err
	}
	text, err := os.ReadFile(o.path)
	if err == nil {
		err = os.WriteFile(o.path, regexp.MustCompile(`\(process .*\):`).ReplaceAll(text, []byte("(process 7):")), 0o600)
	}
	return g, err
}

// orders has the other process carry out an order by hand, and returns how it went with the gateway.
func (w *shared) orders(o Order) error {
	p := w.parts(guard.DefaultConfig())
	p.Store = w.other
	_, gateways, err := New(p).DoOnce(w.t.Context(), o)
	for _, g := range gateways {
		err = errors.Join(err, g.Err)
	}
	synctest.Wait()
	return err
}

func (w *shared) ordered(o Order) {
	w.t.Helper()
	if err := w.orders(o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *shared) wantFile(want string, frozen ...string) {
	w.t.Helper()
	g, _, err := persist.Read(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	names := []string{}
	for _, f := range g.Frozen {
		names = append(names, f.Name.String())
	}
	if line(g.Set) != want || !slices.Equal(names, frozen) && len(names)+len(frozen) > 0 {
		w.t.Errorf("the file has %q, frozen are %q, want %q and %q", line(g.Set), names, want, frozen)
	}
}

func (w *shared) said(text string) bool {
	return slices.ContainsFunc(w.log.AllEntries(), func(e *logrus.Entry) bool { return strings.Contains(e.Message, text) })
}

func TestAFreezeOfAnotherProcessHolds(t *testing.T) {
	share(t, "against what the daemon decides next", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.ordered(Freeze(generation.Freeze{}))
		w.registries[0].publish("a: 1 2 3 4 9, b: 5 6, c: 7 8")
		w.pass(time.Minute)
		w.wantFile(listed, "*")
		w.wantLive(0, listed)
		if len(w.syncer.Status().Generation.Frozen) != 1 {
			w.t.Error("the daemon knows nothing of it")
		}
		w.ordered(Unfreeze(""))
		w.pass(time.Minute) // no registry has news
		w.wantFile("a: 1 2 3 4 9, b: 5 6, c: 7 8")
		w.wantLive(0, "a: 1 2 3 4 9, b: 5 6, c: 7 8")
	})
	share(t, "beside the daemon's", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.ordered(Freeze(generation.Freeze{Name: "a"}))
		w.do(Freeze(generation.Freeze{Name: "b"}))
		w.wantFile(listed, "a", "b")
		w.ordered(Freeze(generation.Freeze{Name: "c"}))
		w.do(Unfreeze("c")) // of which the daemon had not heard
		w.wantFile(listed, "a", "b")
		w.ordered(Unfreeze("b"))
		w.refused(Unfreeze("b"), ErrUnknown)
		w.wantFile(listed, "a")
	})
	share(t, "over the daemon's end", func(_ *testing.T, w *shared) {
		w.registries[0].publish("a: 1") // a hold, that the end writes down
		w.pass(time.Minute)
		w.ordered(Freeze(generation.Freeze{}))
		w.stop()
		w.wantFile(listed, "*")
		g, _, err := persist.Read(w.path)
		if err != nil || !slices.ContainsFunc(g.Guard, func(l string) bool { return strings.HasPrefix(l, "hold ") }) {
			w.t.Errorf("the account is %q, %v", g.Guard, err)
		}
	})
	share(t, "while something is leaving", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.gateways[0].setFail(errors.New("connection refused"))
		w.registries[0].publish("a: 1 2 3 4, b: 5 6, c: 7")
		w.pass(time.Minute)
		w.registries[0].publish("a: 1 2 3 4, b: 5 6")
		w.pass(time.Minute)
		if err := w.orders(Freeze(generation.Freeze{Name: "a"})); err == nil {
			w.t.Error("the gateway could be told")
		}
		w.gateways[0].setFail(nil)
		w.pass(time.Minute)
		w.wantLive(0, "a: 1 2 3 4, b: 5 6")
		w.wantFile("a: 1 2 3 4, b: 5 6", "a")
		if g := w.syncer.Status().Generation; len(g.Leaving) > 0 || len(g.Frozen) != 1 {
			w.t.Errorf("%+v", g)
		}
	})
}

// What the daemon alone knows to be its own is noted as leaving, also when it ends at once.
func TestAnOrphanOfAnOlderPlan(t *testing.T) {
	const theirs = "a: 1 2 3 4, c: 7 8"
	for name, end := range map[string]func(w *shared){
		"the daemon ends":    func(w *shared) { w.stop() },
		"the daemon goes on": func(w *shared) { w.pass(11 * time.Second); defer w.stop() },
	} {
		share(t, name, func(t *testing.T, w *shared) {
			w.gateways[0].setFail(errors.New("connection refused"))
			if _, err := w.other.Load(); err != nil {
				t.Fatal(err)
			}
			if _, err := w.other.Save(t.Context(), generation.Generation{Set: set(theirs)}); err != nil {
				t.Fatal(err)
			}
			w.registries[0].setTrouble(errors.New("connection refused")) // nothing is decided anew
			end(w)
			g, _, err := persist.Read(w.path)
			if err != nil || line(g.Set) != theirs || !slices.Equal(g.Leaving, []string{"b"}) {
				t.Errorf("the file has %q, leaving are %q, %v", line(g.Set), g.Leaving, err)
			}
		})
	}
}

// An older plan stood in the file, and gateways may have been told of it: what it alone had goes.
func TestWhatAnOlderPlanAloneHad(t *testing.T) {
	for name, next := range map[string]func(w *shared){
		"nothing new is decided": func(*shared) {},
		"a freeze":               func(w *shared) { w.do(Freeze(generation.Freeze{Name: "a"})) },
		"a decision":             func(w *shared) { w.registries[0].publish("a: 1 2 3 4, b: 5 6, c: 7 8 9") },
	} {
		share(t, name, func(t *testing.T, w *shared) {
			defer w.stop()
			w.registries[0].publish(listed + ", d: 1")
			w.pass(time.Minute)
			w.registries[0].publish(listed)
			w.pass(time.Minute)
			older := filepath.Join(t.TempDir(), "u.conf") // generation 1, which is older than ours
			theirs := openShared(t, older)
			if _, err := theirs.Save(t.Context(), generation.Generation{Set: set(listed + ", d: 1, old: 9, shop: 9")}); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(older, w.path); err != nil {
				t.Fatal(err)
			}
			w.gateways[0].set(listed + ", d: 1, old: 9, handmade: 9") // d had been confirmed to be gone
			next(w)
			w.pass(time.Minute)
			g, _, err := persist.Read(w.path)
			if err != nil || len(g.Leaving) > 0 {
				t.Errorf("leaving are %q, %v", g.Leaving, err)
			}
			live, _ := w.gateways[0].now()
			if strings.Contains(live, "old: 9") || !strings.Contains(live, "handmade: 9") || strings.Contains(live, "d: 1") {
				t.Errorf("the gateway has %q", live)
			}
		})
	}
}

// What is leaving by another process's word is asked of the gateways, and not taken for done.
func TestWhatIsLeavingByAnotherProcess(t *testing.T) {
	share(t, "an upstream of which the daemon knew nothing", func(t *testing.T, w *shared) {
		defer w.stop()
		g, err := w.other.Load()
		if err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Second) // the gateway was just compared, the file is not looked at yet
		w.gateways[0].set(listed + ", old: 9")
		g.Leaving = []string{"old"}
		if _, err := w.other.Save(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		w.do(Freeze(generation.Freeze{Name: "a"}))
		w.pass(time.Second)
		w.wantLive(0, listed)
		w.wantFile(listed, "a")
	})
}

// raced is a file that another process writes when a Save has just been asked for.
type raced struct {
	*persist.File
	before func()
}

func (r *raced) Save(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	return r.File.Save(ctx, g)
}

func TestAnOrderBesideAnotherProcess(t *testing.T) {
	share(t, "at the same moment", func(_ *testing.T, w *shared) {
		w.stop()
		race := &raced{File: openShared(w.t, w.path)}
		w.file = race
		w.start(guard.DefaultConfig())
		defer w.stop()
		race.before = func() { w.ordered(Freeze(generation.Freeze{Name: "a"})) }
		w.do(Freeze(generation.Freeze{Name: "b"}))
		w.wantFile(listed, "a", "b")
		race.before = func() { w.ordered(Rollback(generation.Generation{Number: 5, Set: set("a: 1 2 3 4, b: 5 6, d: 9")})) }
		w.do(Unfreeze("b"))
		w.wantFile("a: 1 2 3 4, b: 5 6, d: 9", "*", "a")
		w.pass(time.Minute)
		w.wantLive(0, "a: 1 2 3 4, b: 5 6, d: 9")

		w.do(Unfreeze(""))
		race.before = func() { w.ordered(Freeze(generation.Freeze{Name: "b"})) }
		w.do(func(ctx context.Context, s *Syncer) (reason.Reason, error) { // what was leaving has gone at this moment
			s.gen.Leaving = []string{"old"}
			s.settle(ctx)
			if len(s.gen.Frozen) != 2 {
				w.t.Errorf("frozen are %v", s.gen.Frozen)
			}
			return reason.Reason{}, nil
		})
	})
}

func TestARollbackOfAnotherProcess(t *testing.T) {
	const now = "a: 1 2 3 4, b: 5 6, c: 7 8 9"
	share(t, "is not undone", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.registries[0].publish(now)
		w.pass(time.Minute)
		w.ordered(Rollback(generation.Generation{Number: 1, Set: set(listed)}))
		w.registries[0].publish(now)
		w.pass(time.Minute)
		w.wantFile(listed, "*")
		w.wantLive(0, listed)
	})
	share(t, "to what the daemon has", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.ordered(Rollback(generation.Generation{Number: 5, Set: set("b: 5 6, c: 7 8, d: 9")}))
		w.ordered(Rollback(generation.Generation{Number: 1, Set: set(listed)}))
		w.registries[0].publish(now)
		w.pass(time.Minute)
		w.wantFile(listed, "*")
	})
	share(t, "and one of the daemon's after it", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.ordered(Rollback(generation.Generation{Number: 5, Set: set("a: 1 2 3 4, b: 5 6, d: 9")}))
		w.ordered(Freeze(generation.Freeze{Name: "d"}))
		w.do(Rollback(generation.Generation{Number: 1, Set: set(listed)})) // what the daemon had before
		w.wantFile(listed, "*", "d")
		w.pass(time.Minute)
		w.wantLive(0, listed)
	})
}

// What the guard has seen since it wrote its account is not forgotten because a person freezes something meanwhile.
func TestAFreezeOfAnotherProcessTakesNoMemory(t *testing.T) {
	share(t, "of what is missing since an outage", func(_ *testing.T, w *shared) {
		defer w.stop()
		w.registries[0].publish("") // as a registry that comes back empty does
		w.pass(time.Minute)
		w.registries[0].publish("a: 1 2 3, b: 5 6, c: 7 8") // within every limit, and missing since the loss
		w.pass(time.Second)
		w.wantFile(listed)
		w.ordered(Freeze(generation.Freeze{Name: "c"}))
		w.pass(time.Minute)
		w.wantFile(listed, "c")
		w.pass(time.Hour)
		w.wantFile("a: 1 2 3, b: 5 6, c: 7 8", "c")
	})
}

// Between its Save and its push a pass looks at the file again.
func TestAPassThatIsOvertaken(t *testing.T) {
	const newer = "a: 1 2 3 4, b: 5 6, c: 7 8 9"
	meanwhile := func(w *shared, change func(g *generation.Generation)) {
		gw := w.gateways[0]
		gw.onLook(func() { // when it is asked whose names it has; the next time is before it is told
			gw.onLook(func() {
				gw.onLook(nil)
				g, err := w.other.Load()
				if err != nil {
					w.t.Error(err)
				}
				change(&g)
				if _, err := w.other.Save(context.Background(), g); err != nil {
					w.t.Error(err)
				}
			})
		})
	}
	for name, pass := range map[string]func(w *shared) error{
		"once": func(w *shared) error {
			s := New(w.parts(guard.DefaultConfig()))
			w.registries[0].publish(newer)
			out, err := s.RunOnce(w.t.Context(), Once{Limit: time.Second})
			if err != nil {
				return err
			}
			return out.Gateways[0].Err
		},
		"an order": func(w *shared) error {
			_, gateways, err := New(w.parts(guard.DefaultConfig())).DoOnce(w.t.Context(), Rollback(generation.Generation{Number: 5, Set: set(newer)}))
			if err != nil {
				return err
			}
			return gateways[0].Err
		},
	} {
		for what, change := range map[string]func(g *generation.Generation){
			"a generation": func(g *generation.Generation) { g.Set = set("a: 1 2 3 4, b: 5 6, d: 9") },
			"a freeze":     func(g *generation.Generation) { g.Frozen = []generation.Freeze{{Name: "a"}} },
		} {
			share(t, name+", "+what, func(t *testing.T, w *shared) {
				w.stop()
				_, before := w.gateways[0].now()
				meanwhile(w, change)
				if err := pass(w); err == nil || !strings.Contains(err.Error(), "process") {
					t.Errorf("it went with %v", err)
				}
				if _, after := w.gateways[0].now(); after != before {
					t.Error("the gateway was told what is older")
				}
			})
		}
	}
}

// Nothing is pushed that the conf file does not have, whatever became of it.
func TestNothingIsPushedWithoutTheFile(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("# Written by swallowkeeper\n"), 0o600) },
	} {
		share(t, name, func(t *testing.T, w *shared) {
			defer w.stop()
			w.gateways[0].set("a: 1 2 3 4") // as is found out when it is compared
			w.gateways[0].onLook(func() {
				w.gateways[0].onLook(nil)
				if err := spoil(w.path); err != nil {
					t.Error(err)
				}
			})
			told := false
			w.gateways[0].onTell(func() {
				told = true
				w.wantFile(listed)
			})
			w.pass(15 * time.Second)
			if !told {
				t.Error("it was told nothing")
			}
			w.wantFile(listed)
			w.wantLive(0, listed)
		})
		share(t, name+", and another's now", func(t *testing.T, w *shared) {
			defer w.stop()
			_, before := w.gateways[0].now()
			if err := os.Remove(w.path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(w.path, []byte("server {}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			w.gateways[0].set("a: 1 2 3 4")
			w.pass(time.Minute)
			if _, after := w.gateways[0].now(); after != before || w.syncer.Status().StoreErr == nil {
				t.Errorf("told %d times, the file: %v", after-before, w.syncer.Status().StoreErr)
			}
		})
	}
}

// Where an account is gone, or a mended file no longer has it, the guard takes the strictest reading.
func TestAnAccountThatIsLost(t *testing.T) {
	const fewer = "a: 1 2 3, b: 5 6, c: 7 8"
	for name, test := range map[string]struct {
		change func(text string) string
		strict bool
	}{
		"all of its lines are gone": {func(s string) string { return regexp.MustCompile("(?m)^# guard: .*\n").ReplaceAllString(s, "") }, true},
		"the file is mended":        {func(s string) string { return s[:len(s)-20] }, true},
		"the file is empty":         {func(string) string { return "" }, true},
		"an earlier version wrote none": {func(s string) string {
			s = regexp.MustCompile("(?m)^# guard: .*\n").ReplaceAllString(s, "")
			return regexp.MustCompile(" Notes.*account[.]").ReplaceAllString(s, "")
		}, false},
	} {
		share(t, name, func(t *testing.T, w *shared) {
			w.stop()
			text, err := os.ReadFile(w.path)
			if err == nil {
				err = os.WriteFile(w.path, []byte(test.change(string(text))), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			w.file = openShared(t, w.path)
			for range 2 { // a restart is no way out
				w.start(guard.DefaultConfig())
				said := w.said("what the guard remembers can't be read")
				w.registries[0].publish(fewer)
				w.pass(4 * time.Minute)
				if !test.strict {
					w.wantFile(fewer)
					w.stop()
					return
				}
				w.wantFile(listed)
				w.stop()
				if first := !strings.Contains(name, "again"); first && !said {
					t.Error("the log does not say so")
				}
				name += ", again"
			}
			w.start(guard.DefaultConfig())
			defer w.stop()
			w.registries[0].publish(fewer)
			w.pass(3 * time.Minute)
			w.wantFile(fewer)
		})
	}
}
