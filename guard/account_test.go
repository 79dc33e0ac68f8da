package guard

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is written and read again is the same history, at every moment of a catastrophe.
func TestAccount(t *testing.T) {
	s := &story{fleet: newFleet(6, 10)}
	s.fleet[0] = append(s.fleet[0], deregistered)
	s.when(time.Minute, func(f fleet) { f[0][10] = up })
	for i, o := range s.fleet.order()[:50] {
		to := critical
		if i%3 == 0 {
			to = deregistered
		}
		s.when(time.Duration(i)*time.Second, func(f fleet) { f[o[0]][o[1]] = to })
		s.when(time.Duration(i)*time.Second+30*time.Second, func(f fleet) { f[o[0]][o[1]] = up })
		s.when(time.Duration(i)*time.Second+90*time.Second, func(f fleet) { f[o[0]][o[1]] = to })
	}
	s.when(20*time.Minute, func(f fleet) {
		for service := range f {
			clear(f[service])
		}
	})
	for n := range 9 {
		s.when(30*time.Minute, func(f fleet) { f[5][n] = deregistered })
		s.when(31*time.Minute+time.Duration(n)*time.Second, func(f fleet) { f[5][n] = up })
	}
	s.when(50*time.Minute, func(f fleet) {
		for service := range f {
			for n := range 6 {
				f[service][n] = deregistered
			}
		}
	})
	s.told(20*time.Second, func(in *Input) {
		in.Away, in.Indexes = map[string]time.Time{"consul at noon": in.Now}, map[string]uint64{"consul at noon": 7}
	})
	seen := map[string]bool{}
	s.replay(t, DefaultConfig(), func(now time.Duration, d Decision) {
		lines := d.History.Lines()
		back, err := ReadHistory(lines, noon, time.Minute)
		if err != nil {
			t.Fatalf("after %s: %v", now, err)
		}
		if again := back.Lines(); !reflect.DeepEqual(again, lines) {
			t.Fatalf("after %s\n%s\nbecame\n%s", now, strings.Join(lines, "\n"), strings.Join(again, "\n"))
		}
		for _, l := range lines {
			kind, _, _ := strings.Cut(l, " ")
			seen[kind] = true
		}
	})
	for _, kind := range []string{lineSum, lineAll, lineService, lineSize, lineMissing, lineReturned, lineBack, lineDoubt, lineIndex, lineHold, lineLeft, lineSpare} {
		if !seen[kind] {
			t.Errorf("no line %q was written", kind)
		}
	}
}

// FuzzReadHistory reads anything, and what it reads it writes again.
func FuzzReadHistory(f *testing.F) {
	f.Add("hold 5f56aae6fe61 2026-01-02T12:00:00Z")
	f.Add("all 4 5 2026-01-02T12:00:00Z\nservice a 4 5 2026-01-02T12:00:00Z\nsize 4 2026-01-02T12:00:00Z\nindex 7 r")
	f.Add("left a 10.0.0.1:80 2026-01-02T12:00:00Z 4 2026-01-02T12:00:00Z lost unhealthy 1 0 3 2s false - r")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		h, err := ReadHistory(append([]string{lineSum + " " + sum(lines)}, lines...), noon, time.Minute)
		if err != nil {
			return
		}
		again, err := ReadHistory(h.Lines(), noon, time.Minute)
		if err != nil || !reflect.DeepEqual(again.Lines(), h.Lines()) {
			t.Fatalf("%q became %q: %v", lines, h.Lines(), err)
		}
	})
}

// A server that was deregistered and comes back unhealthy is not brought back into traffic, also after a restart, which
// knows no more of it than its address: nginx takes no such server.
func TestWhatWasDeregisteredIsNotKeptAsUnhealthy(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		c := begin(t, "a: 1 2 3 4 5 6, b: 7 8 9 10 11 12")
		c.sees(time.Second, "a: 2 3 4 5 6, b: 7 8 9 10 11 12")
		c.sees(time.Second, "a: 1 2 3 4 5 6, b: 7 8 9 10 11 12")
		d := c.sees(time.Second, "a: 2 3 4 5 6, b: 7 8 9 10 11 12")
		if restarted {
			var err error
			if c.history, err = ReadHistory(d.History.Lines(), c.now, DefaultConfig().Window); err != nil {
				t.Fatal(err)
			}
		}
		d = c.sees(time.Second, "a: !1 !2 !3 !4 5 6, b: 7 8 9 10 11 12")
		c.wants(d, "a: 2 3 4 5 6, b: 7 8 9 10 11 12", "")
		for u := range d.Accepted.All() {
			for _, s := range u.Servers {
				if err := s.Valid(); err != nil {
					t.Errorf("restarted %v: %s: %v", restarted, s.Addr, err)
				}
			}
		}
	}
}
