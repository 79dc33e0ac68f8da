package record_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/persist/record"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func addr(service, n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(service >> 8), byte(service), byte(n)}), 80)
}

// world is services whose instances come, go and turn unhealthy, and a daemon that decides on them.
type world struct {
	*rand.Rand
	services  int
	instances [][]int // 0 is up, 1 unhealthy, 2 gone
	limits    guard.Config
	now       time.Time
	again     time.Time
	accepted  upstream.Set
	history   guard.History
	index     uint64
	holds     []guard.Hold
	seen      upstream.Set
	blocks    map[int]upstream.Upstream // of services that have not changed
	moments   []replay.Moment
	frozen    map[string]bool // by name
	backup    int             // this one of each service is
	reloads   bool            // with other limits
}

func newWorld(seed uint64, services, instances int) *world {
	w := &world{
		Rand: rand.New(rand.NewPCG(seed, 1)), services: services, now: noon, index: 10, blocks: map[int]upstream.Upstream{},
		limits: guard.DefaultConfig(), backup: 5,
	}
	w.instances = make([][]int, services)
	for i := range w.instances {
		w.instances[i] = make([]int, instances)
	}
	w.list()
	w.decide(func(m *replay.Moment) { m.Began, m.Fresh = true, true })
	return w
}

// list has the registry list what is there.
func (w *world) list() {
	var list []upstream.Upstream
	var out []upstream.Out
	for s, all := range w.instances {
		u, kept := w.blocks[s]
		if !kept {
			u = upstream.Upstream{Name: fmt.Sprintf("Service-%d", s), Options: upstream.Options{Keepalive: 20}}
			if s%7 == 3 {
				u.Canary = "3"
			}
			if s%5 == 2 {
				u.Options.Method = "least_conn"
			}
		}
		registered := false
		for n, is := range all {
			registered = registered || is < 2
			switch {
			case is == 1:
				out = append(out, upstream.Out{
					Service: u.Name, Upstream: u.Name, Addr: addr(s, n).String(), Reason: reason.Text("\x1b[31mcritical"), Unhealthy: true,
				})
			case is == 0 && !kept:
				u.Servers = append(u.Servers, upstream.Server{
					Addr: addr(s, n), Weight: 1 + n%2, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "consul@127.0.0.1:8500",
					Host: strings.Repeat("web.example:80", n/9), Backup: n == w.backup, MaxConns: n,
				})
			}
		}
		w.blocks[s] = u
		if registered {
			list = append(list, u)
		}
	}
	out = append(out, upstream.Out{Service: "x", Upstream: "../no name", Addr: "10.0.0.1:1", Unhealthy: true}, upstream.Out{Service: "y", Reason: reason.Text("no")},
		upstream.Out{Service: "Service-0", Upstream: "Service-0", Addr: addr(0, 77).String(), Reason: reason.Text("its tag is another")})
	w.seen = upstream.NewSet(list, out...)
	w.index++
}

func (w *world) set(service, instance, to int) {
	w.instances[service][instance] = to
	delete(w.blocks, service)
}

// goes on for some time, with the decisions that the guard asked for.
func (w *world) goes(d time.Duration) {
	w.now = w.now.Add(d)
	for !w.again.IsZero() && w.again.Before(w.now.Add(-5*time.Millisecond)) {
		now := w.now
		w.now = w.again.Add(4 * time.Millisecond)
		w.decide()
		w.now = now
	}
}

func (w *world) decide(with ...func(*replay.Moment)) {
	m := replay.Moment{
		Input: guard.Input{
			Accepted: w.accepted, Seen: w.seen, History: w.history, Now: w.now,
			Indexes: map[string]uint64{"consul@127.0.0.1:8500": w.index},
		},
		Limits: w.limits,
	}
	w.freeze(&m.Input)
	for _, f := range with {
		f(&m)
	}
	m.Said()
	d := w.limits.Decide(m.Input)
	if !m.Unsaved {
		next := gateway.Loadable(d.Accepted)
		if m.Waiting {
			var names []string
			for old, u := range upstream.Pairs(w.accepted, next) {
				if old.Name == "" {
					names = append(names, u.Name)
				}
			}
			next = next.Without(names)
		}
		w.accepted, w.history = next, d.History
	}
	w.again = time.Time{}
	if d.Again > 0 {
		w.again = w.now.Add(d.Again)
	}
	w.holds, m.Result = d.Holds, w.accepted
	w.moments = append(w.moments, m)
}

// freeze has the guard see what is frozen as it is written.
func (w *world) freeze(in *guard.Input) {
	if len(w.frozen) == 0 {
		return
	}
	listed := in.Seen
	var put []upstream.Upstream
	var drop []string
	for old, u := range upstream.Pairs(in.Accepted, listed) {
		switch {
		case !w.frozen[u.Name] && !w.frozen[old.Name]:
		case old.Name == "":
			drop = append(drop, u.Name)
		default:
			put = append(put, old)
			if old.Usable() && !u.Usable() {
				in.Frozen++
			}
		}
	}
	in.Seen = listed.With(put, drop)
	frozen := maps.Clone(w.frozen)
	in.Behind = func(name string) (upstream.Upstream, bool) {
		u, _ := listed.Get(name)
		return u, frozen[name]
	}
}

// happens has something happen.
func (w *world) happens() {
	var with []func(*replay.Moment)
	switch w.IntN(24) {
	case 0: // a node is lost
		n, to := w.IntN(len(w.instances[0])), 1+w.IntN(2)
		for s := range w.instances {
			w.set(s, n, to)
		}
	case 1: // most is lost, or comes back
		to := w.IntN(3)
		for s := range w.instances {
			for n := range w.instances[s] {
				if w.IntN(10) < 8 {
					w.set(s, n, to)
				}
			}
		}
	case 2: // a restart
		w.history, _ = guard.ReadHistory(w.history.Lines(), w.now, w.limits.Window)
		w.again = time.Time{}
		with = append(with, func(m *replay.Moment) { m.Began, m.Fresh = true, true })
	case 3: // a rollback
		w.accepted, w.history, w.again = w.moments[w.IntN(len(w.moments))].Result, guard.History{}, time.Time{}
		with = append(with, func(m *replay.Moment) { m.Fresh = true })
	case 4:
		with = append(with, func(m *replay.Moment) { m.Unsaved = true })
	case 5:
		with = append(with, func(m *replay.Moment) { m.Waiting = true })
	case 6:
		if len(w.holds) > 0 {
			id := w.holds[0].ID
			with = append(with, func(m *replay.Moment) { m.Approved = id })
		}
	case 7:
		answers := map[netip.AddrPort]guard.Answer{}
		for s := range w.instances {
			for n, is := range w.instances[s] {
				answers[addr(s, n)] = guard.Answered
				if is > 0 {
					answers[addr(s, n)] = guard.Refused
				}
			}
		}
		local := map[netip.Addr]bool{addr(w.IntN(w.services), w.IntN(10)).Addr(): true}
		with = append(with, func(m *replay.Moment) { m.Answers, m.Local = answers, local })
	case 8:
		w.index = 3 // it went backwards
	case 9:
		at := w.now
		with = append(with, func(m *replay.Moment) { m.Away = map[string]time.Time{"consul@127.0.0.1:8500": at} })
	case 10: // an address may not be reached any more
		names := w.accepted.Names()
		if len(names) > 0 {
			w.accepted = w.accepted.Without(names[:1])
		}
	case 12, 13: // a person freezes some
		w.frozen = map[string]bool{}
		for range 1 + w.IntN(w.services) {
			w.frozen[fmt.Sprintf("Service-%d", w.IntN(w.services))] = true
		}
	case 14:
		w.frozen = nil
	case 15: // a reload with other limits
		if !w.reloads {
			break
		}
		w.limits.MaxRemoval, w.limits.Window = 0.1+float64(w.IntN(9))/10, time.Duration(1+w.IntN(9))*time.Minute
		w.history, _ = guard.ReadHistory(w.history.Lines(), w.now, w.limits.Window)
		w.again = time.Time{}
		with = append(with, func(m *replay.Moment) { m.Began, m.Fresh = true, true })
	case 11:
		with = append(with, func(m *replay.Moment) { m.Empty = []string{"consul@127.0.0.1:8500"} })
	}
	for range w.IntN(4) {
		w.set(w.IntN(w.services), w.IntN(len(w.instances[0])), w.IntN(3))
	}
	w.list()
	w.goes(time.Duration(w.Int64N(int64(2 * time.Minute))))
	w.decide(with...)
}

func encode(t testing.TB, moments []replay.Moment, whole int) []byte {
	t.Helper()
	var e record.Encoder
	var text []byte
	for i, m := range moments {
		lines, err := e.Encode(m, i%whole == whole-1)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, lines...)
	}
	return text
}

func decode(t testing.TB, text []byte) (moments []replay.Moment, notes []string) {
	t.Helper()
	var d record.Decoder
	for m, err := range d.Moments("file", bytes.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		moments = append(moments, m)
	}
	return moments, d.Notes
}

// What is read is what was written, and a replay of it decides as the daemon did, whatever happened.
func TestARecordIsWhatHappened(t *testing.T) {
	for seed := range uint64(30) {
		w := newWorld(seed, 12, 10)
		w.reloads = seed%3 == 2
		for range 60 {
			w.happens()
		}
		text := encode(t, w.moments, 1+int(seed)*5)
		got, notes := decode(t, text)
		if len(notes) > 0 || len(got) != len(w.moments) {
			t.Fatalf("seed %d: %d of %d moments, %q", seed, len(got), len(w.moments), notes)
		}
		for i, m := range got {
			want := w.moments[i]
			switch {
			case !reflect.DeepEqual(m.Limits, want.Limits):
				t.Fatalf("seed %d, moment %d: the limits are %+v, want %+v", seed, i, m.Limits, want.Limits)
			case !m.Seen.Equal(want.Seen) || !maps.Equal(unhealthy(m.Seen), unhealthy(want.Seen)) || len(m.Seen.Out()) != len(unhealthy(m.Seen)):
				t.Fatalf("seed %d, moment %d: seen is %v, want %v", seed, i, m.Seen, want.Seen)
			case !m.Accepted.Equal(want.Accepted) || !m.Result.Equal(want.Result):
				t.Fatalf("seed %d, moment %d: accepted is %v, want %v", seed, i, m.Result, want.Result)
			case !m.Now.Equal(want.Now) || m.Approved != want.Approved || m.Waiting != want.Waiting || m.Unsaved != want.Unsaved:
				t.Fatalf("seed %d, moment %d: %+v, want %+v", seed, i, m, want)
			case m.Fresh != want.Fresh || m.Began != want.Began || !slices.Equal(m.Empty, want.Empty) || !maps.Equal(m.Indexes, want.Indexes):
				t.Fatalf("seed %d, moment %d: %+v, want %+v", seed, i, m, want)
			case !maps.EqualFunc(m.Away, want.Away, time.Time.Equal) || !maps.Equal(m.Answers, want.Answers) || !maps.Equal(m.Local, want.Local):
				t.Fatalf("seed %d, moment %d: %v %v, want %v %v", seed, i, m.Away, m.Answers, want.Away, want.Answers)
			case m.Frozen != want.Frozen || behind(m) != behind(want):
				t.Fatalf("seed %d, moment %d: %d are frozen, behind that %s, want %d, %s", seed, i, m.Frozen, behind(m), want.Frozen, behind(want))
			case want.Fresh && !slices.Equal(m.History.Lines(), want.History.Lines()):
				t.Fatalf("seed %d, moment %d: the account is %q, want %q", seed, i, m.History.Lines(), want.History.Lines())
			}
		}
		r := replay.Limits(w.limits, w.limits, slices.Values(got), time.Time{})
		if r.Unlike > 0 && !w.reloads || r.Decisions != len(got) { // with the last limits all along it may go another way
			t.Errorf("seed %d: %d of %d decisions are others than the daemon's", seed, r.Unlike, r.Decisions)
		}
		if bytes.ContainsAny(text, "\x1b") || bytes.Contains(text, []byte("critical")) {
			t.Errorf("seed %d: the registry's words are in the record", seed)
		}
	}
}

// behind writes what is listed of all that the guard may ask for.
func behind(m replay.Moment) string {
	text := ""
	for old, seen := range upstream.Pairs(m.Accepted, m.Seen) {
		if m.Behind != nil {
			if u, frozen := m.Behind(cmp.Or(seen.Name, old.Name)); frozen && !u.Identical(seen) {
				text += fmt.Sprintf("%s: %v\n", old.Name, u)
			}
		}
	}
	return text
}

// unhealthy is what of a set is out because it is not usable, by upstream and address.
func unhealthy(s upstream.Set) map[string]bool {
	all := map[string]bool{}
	for _, o := range s.Out() {
		if o.Unhealthy && upstream.ValidName(o.Upstream) == nil {
			all[o.Upstream+" "+o.Addr] = true
		}
	}
	return all
}

// Limits are told when they change, whatever else a decision begins.
func TestOtherLimitsAreTold(t *testing.T) {
	w := newWorld(1, 3, 4)
	w.limits.MaxRemoval = 0.25
	w.goes(time.Second)
	w.decide()
	w.goes(time.Second)
	w.decide()
	got, notes := decode(t, encode(t, w.moments, 100))
	if len(got) != 3 || len(notes) > 0 {
		t.Fatalf("%d moments, %q", len(got), notes)
	}
	for i, m := range got {
		if !reflect.DeepEqual(m.Limits, w.moments[i].Limits) {
			t.Errorf("moment %d: the limits are %+v, want %+v", i, m.Limits, w.moments[i].Limits)
		}
	}
}

// Only what has changed is written.
func TestAChangeTakesALine(t *testing.T) {
	w := newWorld(1, 1000, 10)
	w.set(500, 1, 2)
	w.list()
	w.goes(time.Second)
	w.decide()
	w.goes(time.Second)
	w.decide()
	var e record.Encoder
	sizes := make([]int, len(w.moments))
	for i, m := range w.moments {
		text, err := e.Encode(m, false)
		if err != nil {
			t.Fatal(err)
		}
		sizes[i] = len(text)
	}
	t.Log(sizes)
	if sizes[1] > 2500 || sizes[2] > 100 {
		t.Errorf("a change takes %d bytes, and none %d", sizes[1], sizes[2])
	}
}

// What is damaged is read past, up to the next whole state, and said.
func TestDamage(t *testing.T) {
	w := newWorld(2, 5, 4)
	for range 30 {
		w.happens()
	}
	text := encode(t, w.moments, 10)
	lines := bytes.SplitAfter(text, []byte("\n"))
	lines = lines[:len(lines)-1]
	begins := 0
	for _, line := range lines {
		if bytes.Contains(line, []byte(`"whole":true`)) {
			begins++
		}
	}
	for _, tt := range []struct {
		name string
		text []byte
		note string
	}{
		{"torn at its end", text[:len(text)-30], "was not written to its end"},
		{"without the last end of line", text[:len(text)-1], ""},
		{"a line that is no JSON", slices.Concat(append(slices.Clone(lines[:5]), append([][]byte{[]byte("{\x00}\n")}, lines[5:]...)...)...), "next whole state"},
		{"without a beginning", slices.Concat(lines[1:]...), "have no whole state before them"},
		{"of another version", bytes.Replace(text, []byte(`"version":1`), []byte(`"version":9`), 1), "version 9"},
		{"a name that is none", bytes.Replace(text, []byte(`"name":"Service-1"`), []byte(`"name":"a;b"`), 1), "characters other than"},
		{"a server that is none", bytes.Replace(text, []byte(`"10.0.1.1:80"`), []byte(`"10.0.1.1"`), 1), "no address"},
		{"limits that are none", bytes.Replace(text, []byte(`max_removal = 0.5`), []byte(`max_removal = 7`), 1), "a share from 0 to 1"},
		{"empty", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, notes := decode(t, tt.text)
			if said := strings.Join(notes, "; "); !strings.Contains(said, tt.note) || tt.note == "" && said != "" {
				t.Errorf("it says %q, want %q", said, tt.note)
			}
			if r := replay.Limits(w.limits, w.limits, slices.Values(got), time.Time{}); r.Unlike > 0 {
				t.Errorf("%d decisions are others", r.Unlike)
			}
			if len(tt.text) > 0 && len(got) < len(w.moments)/2 {
				t.Errorf("%d of %d moments are left", len(got), len(w.moments))
			}
		})
	}
}

func FuzzMoments(f *testing.F) {
	w := newWorld(3, 3, 3)
	for range 5 {
		w.happens()
	}
	f.Add(encode(f, w.moments, 4))
	f.Add([]byte(`{"time":"2026-01-02T12:00:00Z","calm":true}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		moments, _ := decode(t, text)
		r := replay.Limits(guard.DefaultConfig(), guard.DefaultConfig(), slices.Values(moments), time.Time{})
		if r.Decisions > len(moments) {
			t.Errorf("%d decisions of %d moments", r.Decisions, len(moments))
		}
		for _, m := range moments {
			for u := range m.Seen.All() {
				if err := upstream.ValidName(u.Name); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func BenchmarkEncodeOneChange(b *testing.B) {
	w := newWorld(1, 5000, 10)
	w.set(500, 1, 2)
	w.list()
	w.decide()
	w.set(500, 1, 0)
	w.list()
	w.decide()
	var e record.Encoder
	for i := 0; b.Loop(); i++ {
		if _, err := e.Encode(w.moments[1+i%2], false); err != nil {
			b.Fatal(err)
		}
	}
}
