package operate

import (
	"errors"
	"slices"
	"sync"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/persist"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// History shows the generations that are kept beside a conf file. It reads what is new to it
// alone: many large files may be kept, and a page is loaded often. What its own process wrote
// it need not read at all.
type History struct {
	Path string
	Most int // it remembers, where it is told of what is written

	reading sync.Mutex // one reads at a time, and what is written waits for nobody

	mu    sync.Mutex
	known []knownGeneration // the newest first
	wrote int               // the number of the last one that this process wrote
}

// knownGeneration is one with what it changed beside another, the number of which is after;
// 0: what it changed is not known.
type knownGeneration struct {
	status.Generation
	after int
}

// Written takes in a generation that was written just now.
func (h *History) Written(e syncer.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := knownGeneration{ShowGeneration(e.Written), h.wrote}
	g.Summary = counted(e.Added, e.Updated, e.Removed)
	h.wrote = g.Number
	h.known = append([]knownGeneration{g}, h.known[:min(len(h.known), max(h.Most-1, 0))]...)
}

// List is the newest first, each with what it changed.
func (h *History) List() ([]status.Generation, error) {
	h.reading.Lock()
	defer h.reading.Unlock()
	numbers, err := persist.History(h.Path)
	if err != nil {
		return nil, err
	}
	read := reader(h.Path)
	known := h.remembered()
	list := make([]knownGeneration, 0, len(numbers))
	for i, n := range numbers {
		older := 0
		if i+1 < len(numbers) {
			older = numbers[i+1]
		}
		g, ok := knownAfter(known, n, older)
		if !ok {
			if g, err = readAfter(read, n, older); errors.Is(err, persist.ErrNotKept) {
				continue // it was pruned meanwhile
			}
		}
		list = append(list, g)
	}
	h.remember(list)
	shown := make([]status.Generation, 0, len(list))
	for _, g := range list {
		shown = append(shown, g.Generation)
	}
	return shown, nil
}

func (h *History) remembered() []knownGeneration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.known)
}

// remember keeps a list, and what was written since it was made.
func (h *History) remember(list []knownGeneration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newer := slices.DeleteFunc(slices.Clone(h.known), func(g knownGeneration) bool {
		return len(list) > 0 && g.Number <= list[0].Number
	})
	h.known = append(newer, list...)
}

// Diff leads from one generation to another.
func (h *History) Diff(from, to int) (status.Changes, error) {
	a, err := ReadKept(h.Path, from)
	if err != nil {
		return status.Changes{}, err
	}
	b, err := ReadKept(h.Path, to)
	if err != nil {
		return status.Changes{}, err
	}
	return ShowChanges(upstream.Diff(a.Set, b.Set)), nil
}

// knownAfter finds what is known of a generation beside the older one that is kept, 0: none is. A
// damaged one may have been mended since.
func knownAfter(known []knownGeneration, number, older int) (knownGeneration, bool) {
	i := slices.IndexFunc(known, func(g knownGeneration) bool { return g.Number == number })
	if i < 0 || known[i].Damaged != "" {
		return knownGeneration{}, false
	}
	g := known[i]
	if older == 0 {
		g.Summary, g.after = "", 0
	}
	return g, g.after == older
}

// readAfter reads a generation and what it changed beside the older one. The error is of one that
// is not kept; one that can't be used is shown as such.
func readAfter(read func(int) kept, number, older int) (knownGeneration, error) {
	k := read(number)
	g := knownGeneration{Generation: ShowGeneration(k.Generation)}
	switch {
	case errors.Is(k.err, persist.ErrNotKept):
		return g, k.err
	case k.err != nil:
		g.Damaged = safetext.Line(k.err.Error())
	case older != 0:
		if before := read(older); before.err == nil {
			g.Summary, g.after = summary(upstream.Diff(before.Set, k.Set)), older
		}
	}
	return g, nil
}

// reader reads generations; of a pair the older is the next one's newer.
func reader(path string) func(number int) kept {
	var last kept
	return func(number int) kept {
		if last.Number != number {
			last.Generation, last.err = ReadKept(path, number)
			last.Number = number
		}
		return last
	}
}

// kept is one generation of the history, or why it can't be used.
type kept struct {
	upstream.Generation
	err error
}

// ReadKept reads a generation that is kept. Its error is of a kind of package status.
func ReadKept(path string, number int) (upstream.Generation, error) {
	g, err := persist.ReadGeneration(path, number)
	if err != nil && !errors.Is(err, persist.ErrNotKept) {
		return g, status.As(status.ErrConflict, err) // a damaged one
	}
	return g, Told(err)
}
