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

// What left once and was replaced is not written, for a large deploy would fill the account; what left again is.
func TestAccountOfReplaced(t *testing.T) {
	c := begin(t, "a: 1 2 3 4, b: 5 6 7 8")
	left := func() (n int) {
		for _, l := range c.history.Lines() {
			if strings.HasPrefix(l, lineLeft+" ") {
				n++
			}
		}
		return n
	}
	c.sees(time.Second, "a: 1 2 3 4 9, b: 5 6 7 8")
	if c.sees(time.Second, "a: 2 3 4 9, b: 5 6 7 8"); left() != 0 {
		t.Errorf("it is replaced, and the account is\n%s", strings.Join(c.history.Lines(), "\n"))
	}
	c.sees(time.Second, "a: 1 2 3 4 9, b: 5 6 7 8")
	if c.sees(time.Second, "a: 2 3 4 9, b: 5 6 7 8"); left() != 1 {
		t.Errorf("it left twice, and the account is\n%s", strings.Join(c.history.Lines(), "\n"))
	}
}

// An account has as many lines as may be, and one that had more is read strictly: nothing goes for a window.
func TestAccountOfMany(t *testing.T) {
	h := History{}.clone()
	add := func(n int) {
		for i := len(h.returned); i < n; i++ {
			h.returned[ServerID{"a", at(i>>16, i)}] = true
		}
	}
	add(mostLines)
	lines := h.Lines()
	if back, err := ReadHistory(lines, noon, time.Minute); len(lines) != mostLines+1 || err != nil || !back.spent.IsZero() {
		t.Errorf("%d lines, %v, spent until %s", len(lines), err, back.spent)
	}
	add(mostLines + 1)
	lines = h.Lines()
	if back, err := ReadHistory(lines, noon, time.Minute); len(lines) != mostLines+2 || err != nil || !back.spent.Equal(noon.Add(time.Minute)) {
		t.Errorf("%d lines, %v, spent until %s", len(lines), err, back.spent)
	}
}

// What can't be read is named by its line.
func TestAccountNamesTheLine(t *testing.T) {
	lines := []string{"index 7 r", "back noon"}
	_, err := ReadHistory(append([]string{lineSum + " " + sum(lines)}, lines...), noon, time.Minute)
	if want := `line 3 of the account: "back noon": "noon" is no time`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
