package persist

import (
	"fmt"
	"maps"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// renderer renders sets that differ little from one another. For a single file it caches the blocks and renders only
// those whose upstream changed.
type renderer struct {
	blocks map[string]block // by upstream name
	text   []byte           // of a single file
	part   []byte           // of a shard
	lines  []byte           // of a manifest
}

type block struct {
	of   upstream.Upstream
	text []byte
}

// one returns the set's blocks as one file, valid until the next call, and their size. If the size is above the limit,
// text is nil.
func (r *renderer) one(set upstream.Set, limit int) (text []byte, size int, err error) {
	if r.blocks == nil {
		r.blocks = make(map[string]block, set.Len())
	}
	r.text = r.text[:0]
	before := ""
	for u := range set.All() {
		if size > limit {
			if r.part, err = appendNext(r.part[:0], before, u.Name, u); err != nil {
				return nil, 0, err
			}
			size, before = size+len(r.part), u.Name
			continue
		}
		if before != "" {
			r.text = append(r.text, '\n')
			if upstream.SameName(before, u.Name) {
				return nil, 0, fmt.Errorf("upstreams %s and %s are one to nginx", before, u.Name)
			}
		}
		before = u.Name
		b, ok := r.blocks[u.Name]
		if !ok || !b.of.Identical(u) {
			if err := nginxconf.Valid(u); err != nil {
				return nil, 0, fmt.Errorf("upstream %q: %w", u.Name, err)
			}
			b = block{of: u, text: nginxconf.AppendBlock(b.text[:0], u)}
			r.blocks[u.Name] = b
		}
		r.text = append(r.text, b.text...)
		size = len(r.text)
	}
	if size > limit {
		r.blocks, r.text = nil, nil
		return nil, size, nil
	}
	if len(r.blocks) > set.Len() {
		maps.DeleteFunc(r.blocks, func(name string, _ block) bool {
			_, ok := set.Get(name)
			return !ok
		})
	}
	return r.text, size, nil
}
