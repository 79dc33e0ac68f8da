package simulation

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is the whole simulated world, generated from a seed. Only its root goroutine changes it, one turn at a time.
type world struct {
	seed   uint64
	rng    *rand.Rand
	script script
	oracle *oracle
	disk   *disk
	land   land
	front  []*nginx
	// dead has the servers that refuse connections, and since when; revived those that accept them again.
	dead, revived map[string]time.Time
	dark          map[string]time.Time // until when a host reaches nobody

	daemon *daemon // the one whose file it is
	other  *daemon // a second one, with an older plan; nil: there is none
	// processes counts the starts of both daemons.
	processes int
	// quarrel is when both daemons were last active.
	quarrel time.Time

	agenda []appointment // in order
	timer  *time.Timer
	trace  trace
	counts map[string]int

	mu      sync.Mutex
	tallies map[string]int // counts of those who have no turn
	waiting []*turn        // who wants to do something to the world
	kick    chan struct{}
	spare   []chan error // of turns that are over
	looped  *daemon      // whose loop had the last turn
	failure *failure
}

// failure is a violated invariant.
type failure struct {
	invariant int // its number in the design; 0: of the simulation itself
	text      string
}

// appointment is a scheduled event.
type appointment struct {
	at   time.Time
	what string
	do   func()
}

// turn is one operation on the world.
type turn struct {
	daemon *daemon
	actor  string
	loop   bool // of a daemon's loop, which is never left waiting
	what   string
	do     func() error
	half   func() // what it has done when the daemon is killed in the middle of it; nil: it has no middle
	done   chan error
}

var errKilled = errors.New("this process was killed")

// turn waits for the caller's turn, runs the operation, and returns its result.
func (w *world) turn(t turn) error {
	shake()
	w.mu.Lock()
	if t.daemon.dead {
		w.mu.Unlock()
		return errKilled
	}
	if n := len(w.spare); n > 0 {
		t.done, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		t.done = make(chan error, 1)
	}
	w.waiting = append(w.waiting, &t)
	w.mu.Unlock()
	select {
	case w.kick <- struct{}{}:
	default:
	}
	err := <-t.done
	w.mu.Lock()
	w.spare = append(w.spare, t.done)
	w.mu.Unlock()
	shake()
	return err
}

// shaken delays everybody at random, which must change nothing.
var shaken bool

func shake() {
	if shaken {
		for range rand.IntN(4) { // dice of nobody's seed
			runtime.Gosched()
		}
	}
}

func (w *world) isDead(d *daemon) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return d.dead
}

// pick chooses one of the waiting, by the seed. The loop that had the last turn continues, and loops come before others.
func (w *world) pick() *turn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		return nil
	}
	rank := func(t *turn) int {
		switch {
		case t.loop && t.daemon == w.looped:
			return 0
		case t.loop:
			return 1
		}
		return 2
	}
	slices.SortFunc(w.waiting, func(a, b *turn) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.actor, b.actor), cmp.Compare(a.what, b.what))
	})
	equal := 1
	for equal < len(w.waiting) && rank(w.waiting[equal]) == rank(w.waiting[0]) {
		equal++
	}
	i := w.rng.IntN(equal)
	t := w.waiting[i]
	w.waiting = slices.Delete(w.waiting, i, i+1)
	if t.loop {
		w.looped = t.daemon
	}
	return t
}

func filter[T any](list []T, keep func(T) bool) []T {
	var kept []T
	for _, e := range list {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// calm grants turns until nobody wants one, and runs the oracle after each.
func (w *world) calm() {
	for w.failure == nil {
		synctest.Wait()
		w.attend()
		w.oracle.look()
		t := w.pick()
		if t == nil {
			return
		}
		if w.script.strikes(w, t) {
			continue
		}
		err := t.do()
		if err != nil {
			w.trace.line(t.actor, t.what+": "+err.Error())
		} else {
			w.trace.line(t.actor, t.what)
		}
		t.done <- err
	}
}

// until advances the time, and runs everything that is due.
func (w *world) until(end time.Time) {
	for w.failure == nil {
		w.calm()
		now := time.Now()
		next := end
		if len(w.agenda) > 0 && w.agenda[0].at.Before(end) {
			next = w.agenda[0].at
		}
		if now.Before(next) {
			w.timer.Reset(next.Sub(now))
			select {
			case <-w.kick:
			case <-w.timer.C:
			}
			continue
		}
		if len(w.agenda) == 0 || w.agenda[0].at.After(now) {
			return
		}
		due := w.agenda[0]
		w.agenda = w.agenda[1:]
		if due.what != "" {
			w.trace.line("world", due.what)
		}
		due.do()
	}
}

// after schedules an event. No two are due in the same nanosecond, because the runtime would choose which
// comes first.
func (w *world) after(wait time.Duration, what string, do func()) {
	at := time.Now().Add(wait + w.uneven())
	i := len(w.agenda)
	for i > 0 && w.agenda[i-1].at.After(at) {
		i--
	}
	w.agenda = slices.Insert(w.agenda, i, appointment{at, what, do})
}

func (w *world) uneven() time.Duration {
	return time.Duration(1 + w.rng.Int64N(int64(time.Millisecond)))
}

// between returns a random duration from the seed.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least))) + w.uneven()
}

func (w *world) count(what string) { w.counts[what]++ }

// tally counts outside a turn.
func (w *world) tally(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tallies[what]++
}

func (w *world) fail(invariant int, format string, a ...any) {
	if w.failure == nil {
		w.failure = &failure{invariant, fmt.Sprintf(format, a...)}
		w.trace.line("oracle", w.failure.text)
	}
}

// trace is a log of what happened: a hash of all lines, and the last ones.
type trace struct {
	began time.Time
	sum   hash.Hash64
	buf   []byte
	last  []line
	lines int
	more  string
}

// line formats a line only if somebody reads it.
type line struct {
	at          time.Duration
	actor, what string
}

func (l line) String() string { return fmt.Sprintf("%14s %-8s %s", l.at, l.actor, l.what) }

var (
	traceTail  = 80
	keepTraces bool // also of a story that ended well
)

// with adds what the next line's actor writes or sends, to the hash only.
func (t *trace) with(text string) { t.more = text }

func (t *trace) line(actor, what string) {
	l := line{time.Since(t.began), actor, what}
	t.buf = binary.LittleEndian.AppendUint64(t.buf[:0], uint64(l.at))
	t.buf = append(append(append(append(t.buf, actor...), 0), what...), 0)
	t.buf = append(append(t.buf, t.more...), 0)
	t.more = ""
	t.sum.Write(t.buf)
	t.lines++
	if t.last = append(t.last, l); len(t.last) > 2*traceTail {
		t.last = append(t.last[:0], t.last[traceTail:]...)
	}
}

// tail returns the last lines.
func (t *trace) tail() []string {
	var texts []string
	for _, l := range t.last[max(0, len(t.last)-traceTail):] {
		texts = append(texts, l.String())
	}
	return texts
}

// outcome is the result of a seed.
type outcome struct {
	seed    uint64
	hash    uint64
	lines   int
	virtual time.Duration
	counts  map[string]int
	failure *failure
	last    []string
}

// simulate plays one seed.
func simulate(t *testing.T, seed uint64) (o outcome) {
	synctest.Test(t, func(*testing.T) {
		w := &world{
			seed: seed, rng: rand.New(rand.NewPCG(seed, 12)), disk: newDisk(), counts: map[string]int{}, tallies: map[string]int{},
			dead: map[string]time.Time{}, revived: map[string]time.Time{}, dark: map[string]time.Time{},
			kick: make(chan struct{}, 1), timer: time.NewTimer(time.Hour), trace: trace{began: time.Now(), sum: fnv.New64a()},
		}
		w.oracle = newOracle(w)
		w.play()
		w.kill(w.daemon)
		w.kill(w.other)
		maps.Copy(w.counts, w.tallies)
		o = outcome{seed, w.trace.sum.Sum64(), w.trace.lines, time.Since(w.trace.began), w.counts, w.failure, nil}
		if w.failure != nil || *story > 0 || keepTraces {
			o.last = w.trace.tail()
		}
	})
	return o
}
