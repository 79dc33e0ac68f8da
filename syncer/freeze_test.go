package syncer

import (
	"slices"
	"testing"
	"time"

	"swallowkeeper/generation"
)

func TestThawed(t *testing.T) {
	now := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	until := func(name generation.Scope, d time.Duration) generation.Freeze {
		return generation.Freeze{Name: name, Until: now.Add(d)}
	}
	released := generation.Freeze{Name: "released"} // by a person alone
	for _, c := range []struct {
		name string
		all  []generation.Freeze
		left []generation.Freeze
		next time.Duration
	}{
		{"none", nil, nil, 0},
		{"without an end", []generation.Freeze{released}, []generation.Freeze{released}, 0},
		{
			"the sooner first",
			[]generation.Freeze{until("a", time.Hour), until("b", 2*time.Hour)},
			[]generation.Freeze{until("a", time.Hour), until("b", 2*time.Hour)},
			time.Hour,
		},
		{
			"the sooner last",
			[]generation.Freeze{until("b", 2*time.Hour), released, until("a", time.Hour)},
			[]generation.Freeze{until("b", 2*time.Hour), released, until("a", time.Hour)},
			time.Hour,
		},
		{"over", []generation.Freeze{until("a", 0), until("b", -time.Second), until("c", 1)}, []generation.Freeze{until("c", 1)}, 1},
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
	one := []generation.Freeze{{Name: "a", Until: now}}
	for name, c := range map[string]struct {
		other []generation.Freeze
		same  bool
	}{
		"the same elsewhere": {[]generation.Freeze{{Name: "a", Until: now.UTC()}}, true},
		"another name":       {[]generation.Freeze{{Name: "b", Until: now}}, false},
		"another end":        {[]generation.Freeze{{Name: "a", Until: now.Add(1)}}, false},
		"one more":           {[]generation.Freeze{{Name: "a", Until: now}, {Name: "b"}}, false},
		"none":               {nil, false},
	} {
		if sameFreezes(one, c.other) != c.same {
			t.Errorf("%s: not %v", name, c.same)
		}
	}
}
