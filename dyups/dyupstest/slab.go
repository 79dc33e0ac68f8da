package dyupstest

import "math/bits"

const (
	pageSize = 4096
	minShift = 3 // the smallest piece is 8 bytes
	maxPiece = pageSize / 2
)

// slab counts memory as nginx's slab allocator does, without holding any: pieces up
// to half a page are rounded up to a power of two and share pages with others of
// their size, bigger ones take whole neighbouring pages. So what fits into the queue
// depends on the sizes of the messages, and a full queue can be a fragmented one.
type slab struct {
	free   []span // in the order in which nginx tries them
	shared [pageSizes][]*page
}

const pageSizes = 9 // 8, 16, … 2048 bytes

// span is a run of neighbouring pages.
type span struct{ first, count int }

// page is one page that is cut into pieces of one size.
type page struct {
	at             int
	class          int
	used, capacity int
}

// piece is what was allocated: a part of a shared page, or whole pages.
type piece struct {
	page  *page
	pages span
}

func newSlab(size int) *slab {
	// The head of the zone: the pool, then for each class a list head and its statistics;
	// each page has a descriptor; the pages begin at the next page border.
	const head, descriptor = 200 + pageSizes*(24+32), 24
	count := max(0, (size-head)/(pageSize+descriptor))
	start := (head + count*descriptor + pageSize - 1) / pageSize * pageSize
	count = min(count, max(0, (size-start)/pageSize))
	s := &slab{}
	if count > 0 {
		s.free = []span{{0, count}}
	}
	return s
}

func (s *slab) alloc(size int) (piece, bool) {
	if size > maxPiece {
		pages, ok := s.takePages((size + pageSize - 1) / pageSize)
		return piece{pages: pages}, ok
	}
	class := 0
	if size > 1<<minShift {
		class = bits.Len(uint(size-1)) - minShift
	}
	if open := s.shared[class]; len(open) > 0 {
		p := open[0]
		if p.used++; p.used == p.capacity {
			s.shared[class] = open[1:]
		}
		return piece{page: p}, true
	}
	at, ok := s.takePages(1)
	if !ok {
		return piece{}, false
	}
	p := &page{at: at.first, class: class, used: 1, capacity: capacity(class)}
	s.shared[class] = []*page{p}
	return piece{page: p}, true
}

// capacity is how many pieces of a class fit into a page. Below 64 bytes the map of
// what is used takes some of them.
func capacity(class int) int {
	shift := class + minShift
	n := pageSize >> shift
	if shift < 6 {
		n -= max(1, n/((1<<shift)*8))
	}
	return n
}

func (s *slab) release(b piece) {
	p := b.page
	if p == nil {
		s.givePages(b.pages)
		return
	}
	if p.used == p.capacity {
		s.shared[p.class] = append([]*page{p}, s.shared[p.class]...)
	}
	if p.used--; p.used > 0 {
		return
	}
	open := s.shared[p.class][:0:0]
	for _, o := range s.shared[p.class] {
		if o != p {
			open = append(open, o)
		}
	}
	s.shared[p.class] = open
	s.givePages(span{p.at, 1})
}

func (s *slab) takePages(count int) (span, bool) {
	for i, f := range s.free {
		if f.count < count {
			continue
		}
		if f.count == count {
			s.free = append(s.free[:i:i], s.free[i+1:]...)
		} else {
			s.free[i] = span{f.first + count, f.count - count}
		}
		return span{f.first, count}, true
	}
	return span{}, false
}

// givePages joins the pages with free neighbours and tries them first next time.
func (s *slab) givePages(p span) {
	rest := make([]span, 1, len(s.free)+1)
	for _, f := range s.free {
		switch {
		case f.first == p.first+p.count:
			p.count += f.count
		case f.first+f.count == p.first:
			p = span{f.first, f.count + p.count}
		default:
			rest = append(rest, f)
		}
	}
	rest[0] = p
	s.free = rest
}
