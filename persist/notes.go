package persist

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/generation"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// notes are the parts of the header that can change without a new generation.
type notes struct {
	leaving, pushing, strangers, guard []string
	frozen                             []generation.Freeze
}

// cleanNotes returns the notes of g in the form to be written, or an error that names an invalid one.
func cleanNotes(g generation.Generation) (n notes, err error) {
	if n.leaving, err = cleanNames("leaving", g.Leaving); err != nil {
		return notes{}, err
	}
	if n.pushing, err = cleanNames("pushing", g.Pushing); err != nil {
		return notes{}, err
	}
	if n.strangers, err = cleanNames("stranger", g.Strangers); err != nil {
		return notes{}, err
	}
	if n.frozen, err = cleanFreezes(g.Frozen); err != nil {
		return notes{}, err
	}
	n.guard = slices.Clone(g.Guard) // thousands of lines, almost always plain
	for i, line := range n.guard {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			n.guard[i] = safetext.OneLine(line)
		}
	}
	return n, nil
}

// notesOf returns the notes that a generation was read or written with.
func notesOf(g generation.Generation) notes {
	return notes{leaving: g.Leaving, pushing: g.Pushing, strangers: g.Strangers, guard: g.Guard, frozen: g.Frozen}
}

// on returns g with a copy of these notes.
func (n notes) on(g generation.Generation) generation.Generation {
	g.Leaving, g.Pushing, g.Strangers = slices.Clone(n.leaving), slices.Clone(n.pushing), slices.Clone(n.strangers)
	g.Frozen, g.Guard = slices.Clone(n.frozen), slices.Clone(n.guard)
	return g
}

// same reports whether both are equal.
func (n notes) same(o notes) bool {
	return slices.Equal(n.guard, o.guard) && slices.Equal(n.leaving, o.leaving) && slices.Equal(n.pushing, o.pushing) &&
		slices.Equal(n.strangers, o.strangers) &&
		slices.EqualFunc(n.frozen, o.frozen, func(a, b generation.Freeze) bool {
			return a.Name == b.Name && a.Until.Equal(b.Until) && a.Signed == b.Signed
		})
}

func cleanFreezes(freezes []generation.Freeze) ([]generation.Freeze, error) {
	for _, f := range freezes {
		if err := f.Signed.Valid(); err != nil {
			return nil, fmt.Errorf("the freeze: %w", err)
		}
		if err := f.Name.Valid(); err != nil {
			return nil, fmt.Errorf("frozen upstream %q: %w", string(f.Name), err)
		}
	}
	freezes = slices.Clone(freezes)
	for i := range freezes {
		freezes[i].Until = freezes[i].Until.UTC().Round(0)
	}
	slices.SortFunc(freezes, func(a, b generation.Freeze) int { return cmp.Compare(a.Name, b.Name) })
	return freezes, nil
}

func cleanNames(what string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	for _, name := range names {
		if err := upstream.ValidName(name); err != nil {
			return nil, fmt.Errorf("%s upstream %q: %w", what, name, err)
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// with adds to names those of others that are not in the set, sorted.
func with(names, others []string, set upstream.Set) []string {
	all := slices.Clone(names)
	for _, name := range others {
		if _, is := set.Get(name); !is {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
