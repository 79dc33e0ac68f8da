package syncer

import (
	"slices"
	"testing"
	"time"

	"swallowkeeper/upstream"
)

func TestThawed(t *testing.T) {
	now := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	until := func(name upstream.Scope, d time.Duration) upstream.Freeze {
		return upstream.Freeze{Name: name, Until: now.Add(d)}
	}
	released := upstream.Freeze{Name: "released"} // by a person alone
	for _, c := range []struct {
		name string
		all  []upstream.Freeze
		left []upstream.Freeze
		next time.Duration
	}{
		{"none", nil, nil, 0},
		{"without an end", []upstream.Freeze{released}, []upstream.Freeze{released}, 0},
		{
			"the sooner first",
			[]upstream.Freeze{until("a", time.Hour), until("b", 2*time.Hour)},
			[]upstream.Freeze{until("a", time.Hour), until("b", 2*time.Hour)},
			time.Hour,
		},
		{
			"the sooner last",
			[]upstream.Freeze{until("b", 2*time.Hour), released, until("a", time.Hour)},
			[]upstream.Freeze{until("b", 2*time.Hour), released, until("a", time.Hour)},
			time.Hour,
		},
		{"over", []upstream.Freeze{until("a", 0), until("b", -time.Second), until("c", 1)}, []upstream.Freeze{until("c", 1)}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if left, next := thawed(c.all, now); !slices.Equal(left, c.left) || next != c.next {
				t.Errorf("left are %v, the next ends after %s", left, next)
			}
		})
	}
}

func TestSameFreezes(t *testing.T) {
	now := time.Now()
	one := []upstream.Freeze{{Name: "a", Until: now}}
	for name, c := range map[string]struct {
		other []upstream.Freeze
		same  bool
	}{
		"the same elsewhere": {[]upstream.Freeze{{Name: "a", Until: now.UTC()}}, true},
		"another name":       {[]upstream.Freeze{{Name: "b", Until: now}}, false},
		"another end":        {[]upstream.Freeze{{Name: "a", Until: now.Add(1)}}, false},
		"one more":           {[]upstream.Freeze{{Name: "a", Until: now}, {Name: "b"}}, false},
		"none":               {nil, false},
	} {
		if sameFreezes(one, c.other) != c.same {
			t.Errorf("%s: not %v", name, c.same)
		}
	}
}
