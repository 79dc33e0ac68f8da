package main

import (
	"errors"
	"slices"
	"sync"

	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/upstream"
)

// history shows the generations that are kept beside a conf file. It reads what is new to it
// alone: many large files may be kept, and a page is loaded often.
type history struct {
	path string

	mu    sync.Mutex
	shown []status.Generation
}

// list is the newest first, each with what it changed.
func (h *history) list() ([]status.Generation, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	numbers, err := persist.History(h.path)
	if err != nil {
		return nil, err
	}
	shown := make([]status.Generation, 0, len(numbers))
	var last kept // of a pair the older is the next one's newer
	read := func(n int) kept {
		if last.Number != n {
			last.Generation, last.err = readKept(h.path, n)
			last.Number = n
		}
		return last
	}
	for i, n := range numbers {
		older := 0
		if i+1 < len(numbers) {
			older = numbers[i+1]
		}
		if g, ok := h.known(n, older); ok {
			shown = append(shown, g)
			continue
		}
		k := read(n)
		if errors.Is(k.err, persist.ErrNotKept) {
			continue // it was pruned meanwhile
		}
		g := showGeneration(k.Generation)
		if k.err != nil {
			g.Damaged = printable(k.err.Error())
		} else if older != 0 {
			if before := read(older); before.err == nil {
				g.Summary = summary(upstream.Diff(before.Set, k.Set))
			}
		}
		shown = append(shown, g)
	}
	h.shown = shown
	return shown, nil
}

// diff leads from one generation to another.
func (h *history) diff(from, to int) (status.Changes, error) {
	a, err := readKept(h.path, from)
	if err != nil {
		return status.Changes{}, err
	}
	b, err := readKept(h.path, to)
	if err != nil {
		return status.Changes{}, err
	}
	return showChanges(upstream.Diff(a.Set, b.Set)), nil
}

// known finds what was shown of a generation after the same older one. A damaged one may have
// been mended since.
func (h *history) known(number, older int) (status.Generation, bool) {
	i := slices.IndexFunc(h.shown, func(g status.Generation) bool { return g.Number == number })
	if i < 0 || h.shown[i].Damaged != "" {
		return status.Generation{}, false
	}
	g := h.shown[i]
	if older == 0 {
		g.Summary = ""
		return g, true
	}
	return g, i+1 < len(h.shown) && h.shown[i+1].Number == older && h.shown[i+1].Damaged == ""
}

// kept is one generation of the history, or why it can't be used.
type kept struct {
	upstream.Generation
	err error
}

func readKept(path string, number int) (upstream.Generation, error) {
	g, err := persist.ReadGeneration(path, number)
	if err != nil && !errors.Is(err, persist.ErrNotKept) {
		return g, status.As(status.ErrConflict, err) // a damaged one
	}
	return g, told(err)
}
