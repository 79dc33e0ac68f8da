package persist

import (
	"fmt"
	"maps"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// renderer renders sets of which each differs little from the one before: it keeps the
// blocks and renders anew only those of which the upstream changed.
type renderer struct {
	blocks map[string]block // by the upstream's name
	text   []byte
}

type block struct {
	of   upstream.Upstream
	text []byte
}

// render returns the set's blocks, good until the next call. It refuses what nginx or
// the next Load would refuse, which no earlier stage should let through.
func (r *renderer) render(set upstream.Set) ([]byte, error) {
	if r.blocks == nil {
		r.blocks = make(map[string]block, set.Len())
	}
	r.text = r.text[:0]
	before := ""
	for u := range set.All() {
		if before != "" {
			r.text = append(r.text, '\n')
			if upstream.SameName(before, u.Name) {
				return nil, fmt.Errorf("upstreams %s and %s are one to nginx", before, u.Name)
			}
		}
		before = u.Name
		b, ok := r.blocks[u.Name]
		if !ok || !b.of.Identical(u) {
			if err := nginxconf.Valid(u); err != nil {
				return nil, fmt.Errorf("upstream %q: %w", u.Name, err)
			}
			b = block{of: u, text: nginxconf.AppendBlock(b.text[:0], u)}
			r.blocks[u.Name] = b
		}
		r.text = append(r.text, b.text...)
	}
	if len(r.blocks) > set.Len() {
		maps.DeleteFunc(r.blocks, func(name string, _ block) bool {
			_, ok := set.Get(name)
			return !ok
		})
	}
	return r.text, nil
}
