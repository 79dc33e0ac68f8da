package persist

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"sort"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// A state above a size is written as shards, so a change only rewrites the shards that it touches. An upstream's name
// determines its shard, so two states that differ in one upstream differ in one shard.

// layout is the distribution of a state over shards.
type layout struct {
	shards []shard // the length is a power of two; some may be empty
	size   int     // bytes of all blocks
}

type shard struct {
	names  []string    // sorted
	digest string      // of its text; "" if empty
	size   int         // of its text in bytes
	text   []byte      // kept until written, if few shards changed
	info   fs.FileInfo // its file as last written or read; nil: unknown
}

const (
	minShards = 16
	maxShards = 4096

	// evenSize balances the cost of a change of one to three upstreams between shards and manifest, which is also
	// written for the history: with n shards, that is n*evenSize bytes each.
	evenSize = 64

	// fewChanged is how many changed shards keep their text between naming and writing. With more, each is rendered
	// twice, so that the text of the whole state is never in memory.
	fewChanged = 16
)

// shardsFor returns the best number of shards for size bytes of blocks.
func shardsFor(size int) int {
	best := math.Round(math.Log2(bestShards(size)))
	return min(max(1<<int(best), minShards), maxShards)
}

func bestShards(size int) float64 { return math.Sqrt(float64(max(size, 1)) / evenSize) }

// misfit reports whether the number of shards is far from the best. Changing it rewrites every shard, so small
// deviations stay.
func (l *layout) misfit() bool {
	n, best := float64(len(l.shards)), bestShards(l.size)
	return best >= 2*n && n < maxShards || best <= n/2 && n > minShards
}

func (l *layout) of(name string) *shard { return &l.shards[l.index(name)] }

// index returns the shard number for a name: an FNV-1a hash of the lowercase name.
func (l *layout) index(name string) int {
	hash := uint32(2166136261)
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		hash = (hash ^ uint32(c)) * 16777619
	}
	hash ^= hash >> 16
	return int(hash % uint32(len(l.shards)))
}

// spread distributes a set over the given number of shards.
func (r *renderer) spread(set upstream.Set, shards int) (*layout, error) {
	l := &layout{shards: make([]shard, shards)}
	for u := range set.All() {
		s := l.of(u.Name)
		s.names = append(s.names, u.Name)
	}
	for i := range l.shards {
		if err := r.seal(l, &l.shards[i], set); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// follow returns the layout of after, given the layout l of before. It touches only what changed.
func (r *renderer) follow(l *layout, before, after upstream.Set) (*layout, error) {
	next := &layout{shards: slices.Clone(l.shards), size: l.size}
	changed := map[*shard]bool{}
	for old, now := range upstream.Changed(before, after) {
		if old.Name != now.Name && old.Name != "" {
			s := next.of(old.Name)
			s.names = slices.DeleteFunc(slices.Clone(s.names), func(name string) bool { return name == old.Name })
			changed[s] = true
		}
		if now.Name == "" {
			continue
		}
		s := next.of(now.Name)
		changed[s] = true
		if old.Name != now.Name {
			i := sort.Search(len(s.names), func(i int) bool { return upstream.CompareNames(s.names[i], now.Name) >= 0 })
			s.names = slices.Insert(slices.Clone(s.names), i, now.Name)
		}
	}
	for s := range maps.Keys(changed) {
		if err := r.seal(next, s, after); err != nil {
			return nil, err
		}
		if len(changed) <= fewChanged {
			s.text = slices.Clone(r.part)
		}
	}
	return next, nil
}

// seal computes the shard's digest and size.
func (r *renderer) seal(l *layout, s *shard, set upstream.Set) error {
	text, err := r.shard(s, set)
	if err != nil {
		return err
	}
	l.size += len(text) - s.size
	s.size, s.info, s.text, s.digest = len(text), nil, nil, ""
	if len(text) > 0 {
		s.digest = contentName(text)
	}
	return nil
}

// shard renders a shard. The text is valid until the next call.
func (r *renderer) shard(s *shard, set upstream.Set) ([]byte, error) {
	r.part = r.part[:0]
	before := ""
	for _, name := range s.names {
		u, is := set.Get(name)
		if !is {
			return nil, fmt.Errorf("upstream %q is not in the set any more", name)
		}
		var err error
		if r.part, err = appendNext(r.part, before, name, u); err != nil {
			return nil, err
		}
		before = name
	}
	return r.part, nil
}

// appendNext appends an upstream's block after the one of before, or first if before is "". It refuses whatever nginx
// or the next Load would refuse; no earlier stage should let that through.
func appendNext(dst []byte, before, name string, u upstream.Upstream) ([]byte, error) {
	if before != "" {
		dst = append(dst, '\n')
		if upstream.SameName(before, name) {
			return nil, fmt.Errorf("upstreams %s and %s are one to nginx", before, name)
		}
	}
	if err := nginxconf.Valid(u); err != nil {
		return nil, fmt.Errorf("upstream %q: %w", name, err)
	}
	return nginxconf.AppendBlock(dst, u), nil
}
