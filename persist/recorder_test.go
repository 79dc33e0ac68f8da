package persist_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/persist"
	"swallowkeeper/upstream"
)

// recorded is a recorder and what it was told.
type recorded struct {
	*persist.Recorder
	cfg    persist.Config
	log    *logrus.Logger
	said   *test.Hook
	folder string
	sets   [2]upstream.Set
	told   int
}

func newRecorded(t testing.TB, services int, change func(*persist.Config)) *recorded {
	t.Helper()
	cfg := persist.DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "upstreams.conf")
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &recorded{cfg: cfg, folder: filepath.Join(filepath.Dir(cfg.Path), ".upstreams.conf.history")}
	r.log, r.said = test.NewNullLogger()
	var list []upstream.Upstream
	for s := range services {
		u := upstream.Upstream{Name: fmt.Sprintf("service-%d", s)}
		for n := range 10 {
			u.Servers = append(u.Servers, upstream.Server{
				Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(s >> 8), byte(s), byte(n)}), 80),
				Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "consul",
			})
		}
		list = append(list, u)
	}
	r.sets[0] = upstream.NewSet(list)
	one := list[0]
	one.Servers = one.Servers[1:]
	r.sets[1] = r.sets[0].With([]upstream.Upstream{one}, nil)
	return r
}

// next is a decision by which one server goes or comes.
func (r *recorded) next() replay.Moment {
	m := replay.Moment{
		Input:  guard.Input{Accepted: r.sets[r.told%2], Seen: r.sets[(r.told+1)%2], Now: time.Now()},
		Limits: guard.DefaultConfig(), Result: r.sets[(r.told+1)%2], Began: r.told == 0, Fresh: r.told == 0,
	}
	r.told++
	return m
}

func (r *recorded) begin() { r.Recorder = persist.NewRecorder(r.cfg, r.log) }

func (r *recorded) files(t *testing.T) (names []string, bytes int64) {
	t.Helper()
	entries, err := os.ReadDir(r.folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		names, bytes = append(names, e.Name()), bytes+info.Size()
		if info.Mode() != 0o644 {
			t.Errorf("%s has mode %s", e.Name(), info.Mode())
		}
	}
	return names, bytes
}

func (r *recorded) read(t *testing.T) ([]replay.Moment, []string) {
	t.Helper()
	rec, err := persist.OpenRecorded(r.folder)
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	all := slices.Collect(rec.Moments())
	if rec.Err() != nil {
		t.Fatal(rec.Err())
	}
	all = slices.DeleteFunc(all, func(m replay.Moment) bool { return m.Calm })
	return all, rec.Notes()
}

func TestRecorder(t *testing.T) {
	t.Run("what is noted can be read, also while the daemon is at work", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorded(t, 3, nil)
			r.begin()
			for range 5 {
				time.Sleep(time.Second)
				r.Note(r.next())
			}
			synctest.Wait()
			if got, notes := r.read(t); len(got) != 5 || len(notes) > 0 {
				t.Errorf("%d moments, %q", len(got), notes)
			}
			time.Sleep(10 * time.Minute)
			r.Close()
			rec, err := persist.OpenRecorded(filepath.Dir(r.folder)) // the only history there
			if err != nil {
				t.Fatal(err)
			}
			defer rec.Close()
			all := slices.Collect(rec.Moments())
			last := all[len(all)-1]
			if !last.Calm || !last.Now.Equal(time.Now()) || len(all) < 15 {
				t.Errorf("%d moments, the last %+v", len(all), last)
			}
			if len(r.said.AllEntries()) > 0 {
				t.Error(r.said.LastEntry())
			}
		})
	})
	t.Run("a restart goes on in another file, and one that was killed left a torn line", func(t *testing.T) {
		r := newRecorded(t, 3, nil)
		r.begin()
		r.Note(r.next())
		r.Note(r.next())
		r.Close()
		names, _ := r.files(t)
		path := filepath.Join(r.folder, names[0])
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content[:len(content)-10], 0o600); err != nil { // the last is a line of calm
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		r.begin()
		m := r.next()
		m.Began, m.Fresh = true, true
		r.Note(m)
		r.Close()
		if names, _ := r.files(t); !slices.Equal(names, []string{"record-1.jsonl", "record-2.jsonl"}) {
			t.Errorf("files %q", names)
		}
		got, notes := r.read(t)
		if len(got) != 3 || !got[2].Began || !strings.Contains(strings.Join(notes, ""), "record-1.jsonl:4: the last line was not written to its end") {
			t.Errorf("%d moments, %q", len(got), notes)
		}
	})
	t.Run("never more than record_size, and the newest stays", func(t *testing.T) {
		r := newRecorded(t, 300, func(c *persist.Config) { c.RecordSize = "1MB" })
		r.begin()
		most := int64(0)
		var last time.Time
		for range 60 {
			for range 100 {
				m := r.next()
				last = m.Now
				r.Note(m)
			}
			r.Close()
			_, bytes := r.files(t)
			most = max(most, bytes)
			r.begin()
		}
		r.Close()
		names, bytes := r.files(t)
		t.Logf("%d files of %d bytes, %d at most", len(names), bytes, most)
		if most > 1_000_000 || most < 500_000 {
			t.Errorf("%d bytes at most", most)
		}
		got, notes := r.read(t)
		if len(notes) > 0 || len(got) < 500 || !got[len(got)-1].Now.Equal(last) {
			t.Errorf("%d moments, %q", len(got), notes)
		}
	})
	t.Run("nothing older than record, once something new comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorded(t, 3, func(c *persist.Config) { c.Record = time.Hour })
			r.begin()
			for range 200 {
				r.Note(r.next())
				time.Sleep(time.Minute)
				synctest.Wait()
				names, _ := r.files(t)
				for _, name := range names { // the disk's clock is another one
					path := filepath.Join(r.folder, name)
					if info, err := os.Stat(path); err == nil && info.ModTime().Year() > 2020 {
						if err := os.Chtimes(path, time.Now(), time.Now()); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			r.Close()
			got, _ := r.read(t)
			if age := time.Since(got[0].Now); age > 80*time.Minute || age < 50*time.Minute {
				t.Errorf("the oldest is %s old", age)
			}
		})
	})
	t.Run("switched off", func(t *testing.T) {
		r := newRecorded(t, 3, func(c *persist.Config) { c.Record = 0 })
		r.begin()
		r.Note(r.next())
		r.Close()
		if names, _ := r.files(t); len(names) > 0 {
			t.Errorf("files %q", names)
		}
	})
}

// Whatever is wrong with the disk is told once, and hinders nobody.
func TestTheRecordHindersNobody(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		spoil      func(t *testing.T, r *recorded)
		mend       func(t *testing.T, r *recorded)
	}{
		{"the history's place is taken", "it is no folder", func(t *testing.T, r *recorded) {
			if err := os.WriteFile(r.folder, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, r *recorded) {
			if err := os.Remove(r.folder); err != nil {
				t.Fatal(err)
			}
		}},
		{"the folder is missing", "no such file", func(t *testing.T, r *recorded) {
			if err := os.Remove(filepath.Dir(r.folder)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, r *recorded) {
			if err := os.Mkdir(filepath.Dir(r.folder), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorded(t, 3, nil)
				tt.spoil(t, r)
				r.begin()
				for range 2000 {
					r.Note(r.next())
				}
				time.Sleep(5 * time.Minute)
				r.Note(r.next())
				synctest.Wait()
				if said := r.said.AllEntries(); len(said) != 1 || said[0].Level != logrus.WarnLevel || !strings.Contains(fmt.Sprint(said[0].Data["error"]), tt.want) {
					t.Fatalf("it said %v", said)
				}
				tt.mend(t, r)
				time.Sleep(5 * time.Minute)
				r.Note(r.next())
				r.Note(r.next())
				r.Close()
				if said := r.said.LastEntry(); said.Level != logrus.InfoLevel {
					t.Errorf("it said %v", said)
				}
				if got, notes := r.read(t); len(got) != 2 || len(notes) > 0 {
					t.Errorf("%d moments, %q", len(got), notes)
				}
			})
		})
	}
	t.Run("a state that is too large", func(t *testing.T) {
		r := newRecorded(t, 5000, func(c *persist.Config) { c.RecordSize = "1MB" })
		r.begin()
		for range 10 {
			r.Note(r.next())
		}
		r.Close()
		if said := r.said.AllEntries(); len(said) != 1 || !strings.Contains(said[0].Message, "record_size is 1MB") {
			t.Errorf("it said %v", said)
		}
	})
}

// stuck is a log that keeps whoever says something until it is released.
type stuck struct {
	*test.Hook
	release chan struct{}
}

func (s stuck) Fire(e *logrus.Entry) error {
	<-s.release
	return s.Hook.Fire(e)
}

// What does not fit into the queue is left out, nobody waits, and the record goes on with all that it needs.
func TestARecorderThatIsTooSlow(t *testing.T) {
	const queue, most = 256, 2000
	synctest.Test(t, func(t *testing.T) {
		r := newRecorded(t, 3, nil)
		stuck := stuck{r.said, make(chan struct{})}
		r.log.ReplaceHooks(logrus.LevelHooks{})
		r.log.AddHook(stuck)
		if err := os.WriteFile(r.folder, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var told []replay.Moment
		note := func() {
			m := r.next()
			m.Now, m.History = m.Now.Add(time.Duration(len(told))*time.Millisecond), guard.Held(1000+len(told))
			told = append(told, m)
			r.Note(m)
		}
		r.begin()
		note()
		synctest.Wait() // it can't be written, and that is being said
		for range most {
			note()
		}
		if err := os.Remove(r.folder); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		close(stuck.release)
		synctest.Wait()
		note()
		note()
		r.Close()

		want := append(slices.Clone(told[1:1+queue]), told[most+1:]...)
		got, notes := r.read(t)
		if len(notes) > 0 || len(got) != len(want) {
			t.Fatalf("%d moments, want %d, %q", len(got), len(want), notes)
		}
		for i, m := range got {
			if !m.Now.Equal(want[i].Now) || !m.Accepted.Equal(want[i].Accepted) || !m.Seen.Equal(want[i].Seen) || !m.Result.Equal(want[i].Result) {
				t.Fatalf("moment %d is %+v, want %+v", i, m, want[i])
			}
			if fresh := i == 0 || i == queue; m.Fresh != fresh && i > 0 || fresh && !slices.Equal(m.History.Lines(), want[i].History.Lines()) {
				t.Errorf("moment %d: fresh %v, the account is %q, want %q", i, m.Fresh, m.History.Lines(), want[i].History.Lines())
			}
		}
	})
}

// What a decision costs its daemon for the record: 5,000 services of 10, of which one server comes or goes. The rest is
// done beside it.
func BenchmarkRecord(b *testing.B) {
	r := newRecorded(b, 5000, nil)
	r.begin()
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		r.Note(r.next())
	}
}

// What the record takes beside the daemon for the same.
func BenchmarkRecordWritten(b *testing.B) {
	r := newRecorded(b, 5000, nil)
	r.begin()
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		r.Note(r.next())
		if n%100 == 99 { // the queue has room for them
			r.Close()
			b.StopTimer()
			r.begin()
			r.Note(r.next())
			b.StartTimer()
		}
	}
	r.Close()
}
