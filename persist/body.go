package persist

import (
	"math"
	"path/filepath"
	"strconv"

	"swallowkeeper/generation"
	"swallowkeeper/upstream"
)

// body is the part of the conf file after the header. Its text is valid until the next compose.
type body struct {
	text   []byte
	digest string  // hex SHA-256 of text
	layout *layout // of the included shards; nil if text holds the blocks themselves
}

// shards returns the header's shard count, or "" for a single file.
func (b body) shards() string {
	if b.layout == nil {
		return ""
	}
	return strconv.Itoa(len(b.layout.shards))
}

// compose renders the set for writing: as one file while it is small, else as shards. A sharded state goes back to one
// file only below half the threshold, so it does not flip back and forth.
func (f *File) compose(set upstream.Set) (body, error) {
	limit := f.largest()
	if f.body != nil && set.Equal(f.last.Set) && (f.body.layout == nil || f.body.layout.size > limit) {
		return *f.body, nil
	}
	was := f.body
	f.body = nil // its text buffer is about to be reused
	if was != nil && was.layout != nil {
		l, err := f.renderer.follow(was.layout, f.last.Set, set)
		if err != nil {
			return body{}, err
		}
		if l.size > limit {
			if l.misfit() {
				if l, err = f.renderer.spread(set, shardsFor(l.size)); err != nil {
					return body{}, err
				}
			}
			return f.manifest(l), nil
		}
	}
	text, size, err := f.renderer.one(set, limit)
	if err != nil {
		return body{}, err
	}
	if size <= limit {
		return body{text: text, digest: digest(text)}, nil
	}
	l, err := f.renderer.spread(set, shardsFor(size))
	if err != nil {
		return body{}, err
	}
	return f.manifest(l), nil
}

// manifest returns the body that includes the shards of l.
func (f *File) manifest(l *layout) body {
	f.renderer.lines = appendIncludes(f.renderer.lines[:0], l, f.includes())
	return body{text: f.renderer.lines, digest: digest(f.renderer.lines), layout: l}
}

// largest returns how many bytes of blocks may go into one file.
func (f *File) largest() int {
	above, _ := shardAbove(f.cfg.ShardAbove) // validated
	switch {
	case above == 0 || !includable(f.includes()):
		return math.MaxInt
	case f.sharded:
		return above / 2
	}
	return above
}

// includes returns the shards folder as nginx sees it.
func (f *File) includes() string {
	folder := shardsFolder(f.path)
	if f.cfg.IncludeAs != "" {
		return filepath.Join(f.cfg.IncludeAs, filepath.Base(folder))
	}
	return folder
}

// has reports whether g has the same state as the last generation, whether as one file or as shards.
func (f *File) has(g generation.Generation) bool {
	return g.Digest == f.last.Digest || g.Set.Equal(f.last.Set)
}
