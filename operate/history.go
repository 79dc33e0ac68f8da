package operate

import (
	"errors"
	"slices"
	"sync"

	"swallowkeeper/generation"
	"swallowkeeper/internal/safetext"
	"swallowkeeper/persist"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
)

// History reads the generations that are kept beside a conf file. It caches them, as there may be many large files and
// the page is loaded often. Generations of its own process need not be read at all.
type History struct {
	Path string
	Most int // maximum size of the cache; 0: no cache

	reading sync.Mutex // allows one reader at a time; writers do not wait for it

	mu    sync.Mutex
	known []knownGeneration // newest first
	wrote int               // number of the last generation that this process wrote
}

// knownGeneration is a generation with its changes compared to the one with number after; 0: the changes are unknown.
type knownGeneration struct {
	status.Generation
	after int
}

// Written adds a generation that was just written.
func (h *History) Written(e syncer.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := knownGeneration{ShowGeneration(e.Written), h.wrote}
	g.Summary = counted(e.Added, e.Updated, e.Removed)
	h.wrote = g.Number
	h.known = append([]knownGeneration{g}, h.known[:min(len(h.known), max(h.Most-1, 0))]...)
}

// List returns the generations with their changes, newest first.
func (h *History) List() ([]status.Generation, error) {
	h.reading.Lock()
	defer h.reading.Unlock()
	numbers, err := persist.History(h.Path)
	if err != nil {
		return nil, err
	}
	all := persist.NewReader(h.Path)
	defer all.Close()
	read := reader(all)
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
				continue // pruned in the meantime
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

// remember caches a list, together with what was written since it was made.
func (h *History) remember(list []knownGeneration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	newer := slices.DeleteFunc(slices.Clone(h.known), func(g knownGeneration) bool {
		return len(list) > 0 && g.Number <= list[0].Number
	})
	h.known = append(newer, list...)
}

// Diff returns the changes from one generation to another.
func (h *History) Diff(from, to int) (status.Changes, error) {
	all := persist.NewReader(h.Path)
	defer all.Close()
	a, err := readKept(all, from)
	if err != nil {
		return status.Changes{}, err
	}
	b, err := readKept(all, to)
	if err != nil {
		return status.Changes{}, err
	}
	return ShowChanges(upstream.Diff(a.Set, b.Set)), nil
}

// knownAfter returns what is known about a generation compared to the older one; 0: no older one is kept. A damaged
// generation may have been repaired since.
func knownAfter(known []knownGeneration, number, older int) (knownGeneration, bool) {
	i := slices.IndexFunc(known, func(g knownGeneration) bool { return g.Number == number })
	if i < 0 || known[i].Damaged != "" {
		return knownGeneration{}, false
	}
	g := known[i]
	if older == 0 {
		g.Summary, g.after = reason.Reason{}, 0
	}
	return g, g.after == older
}

// readAfter reads a generation and its changes compared to the older one. It returns an error if the generation is not
// kept. One that is not usable is returned as damaged.
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

// reader returns a function that reads generations. It caches one: in a sequence, the older one of a pair is the newer
// one of the next pair.
func reader(all *persist.Reader) func(number int) kept {
	var last kept
	return func(number int) kept {
		if last.Number != number {
			last.Generation, last.err = readKept(all, number)
			last.Number = number
		}
		return last
	}
}

// kept is a generation of the history, or why it is not usable.
type kept struct {
	generation.Generation
	err error
}

// ReadKept reads a generation of the history. Its error has a kind of package status.
func ReadKept(path string, number int) (generation.Generation, error) {
	all := persist.NewReader(path)
	defer all.Close()
	return readKept(all, number)
}

func readKept(all *persist.Reader, number int) (generation.Generation, error) {
	g, err := all.Read(number)
	if err != nil && !errors.Is(err, persist.ErrNotKept) {
		return g, status.As(status.ErrConflict, err) // a damaged one
	}
	return g, Classify(err)
}
