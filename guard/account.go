package guard

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// A history is written as lines of words, one item per line. The first line has a digest of the others:
//
//	sum 0011223344556677
//	all START PEAK TIME              the pin of the holds on removals over all servers
//	service NAME START PEAK TIME     the pin of the holds on a service
//	size COUNT TIME                  the number of servers from then on
//	missing NAME ADDR TIME           since when it has been missing
//	returned NAME ADDR               it came back while others are missing
//	back TIME                        when the last one came back
//	doubt TIME REGISTRY              until when losses are in doubt
//	index NUMBER REGISTRY            the index of its last answer
//	hold ID TIME                     when it began
//	spent TIME                       until when nothing may be removed
//	left NAME ADDR TIME TIMES UNTIL  a server left traffic, how many times, and until when damping keeps it out; then
//	                                 "lost" if nothing replaced it, and "unhealthy" with its parameters
//	spare NAME ADDR TIME             a server that came and has replaced nothing yet
//	routes TIME                      when the holds on routes began
//	route-back TIME                  when a missing route last came back
//	route-gone NAME TIME ROUTE       a route went, and nothing has replaced it
//	route-spare NAME TIME ROUTE      a route that came and has replaced nothing yet
//	route-missing NAME TIME ROUTE    a held route, and since when it has been missing
//	more                             the history was cut here
const (
	lineSum      = "sum"
	lineAll      = "all"
	lineService  = "service"
	lineSize     = "size"
	lineMissing  = "missing"
	lineReturned = "returned"
	lineBack     = "back"
	lineDoubt    = "doubt"
	lineIndex    = "index"
	lineHold     = "hold"
	lineSpent    = "spent"
	lineLeft     = "left"
	lineSpare    = "spare"
	lineMore     = "more"

	lineRoutes       = "routes"
	lineRouteBack    = "route-back"
	lineRouteGone    = "route-gone"
	lineRouteSpare   = "route-spare"
	lineRouteMissing = "route-missing"
)

// mostLines limits the size of a history in the conf file's header to about a megabyte.
const mostLines = 10_000

// Lines returns the history as it is written, or nil if it is empty.
func (h History) Lines() []string {
	var lines []string
	add := func(words ...string) { lines = append(lines, strings.TrimSpace(strings.Join(words, " "))) }
	if !h.spent.IsZero() {
		add(lineSpent, inUTC(h.spent))
	}
	for _, registry := range slices.Sorted(maps.Keys(h.doubts)) {
		add(lineDoubt, inUTC(h.doubts[registry]), registry)
	}
	for _, registry := range slices.Sorted(maps.Keys(h.indexes)) {
		add(lineIndex, strconv.FormatUint(h.indexes[registry], 10), registry)
	}
	for _, id := range slices.Sorted(maps.Keys(h.holds)) {
		add(lineHold, id, inUTC(h.holds[id]))
	}
	if h.pin != (pin{}) {
		add(append([]string{lineAll}, h.pin.words()...)...)
	}
	for _, s := range h.sizes {
		add(lineSize, strconv.Itoa(s.count), inUTC(s.at))
	}
	if !h.back.IsZero() {
		add(lineBack, inUTC(h.back))
	}
	for _, name := range slices.Sorted(maps.Keys(h.pins)) {
		add(append([]string{lineService, string(name)}, h.pins[name].words()...)...)
	}
	for _, id := range ordered(h.missing) {
		add(lineMissing, id.Upstream, id.Addr.String(), inUTC(h.missing[id]))
	}
	for _, id := range ordered(h.returned) {
		add(lineReturned, id.Upstream, id.Addr.String())
	}
	h.routes.lines(add)
	for e := range h.left.all() {
		if e.is.line != "" {
			lines = append(lines, e.is.line)
		}
	}
	for e := range h.spare.all() {
		add(lineSpare, e.id.Upstream, e.id.Addr.String(), inUTC(e.at))
	}
	if len(lines) > mostLines {
		lines = append(lines[:mostLines], lineMore)
	}
	if len(lines) == 0 {
		return nil
	}
	return slices.Insert(lines, 0, lineSum+" "+sum(lines))
}

// SameHolds reports whether two accounts agree on holds and on what is missing or in doubt. The rest need not be
// written before the next generation.
func SameHolds(a, b []string) bool {
	holds := func(lines []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			kind, _, _ := strings.Cut(line, " ")
			return slices.Contains([]string{lineSum, lineIndex, lineSize, lineLeft, lineSpare, lineRouteGone, lineRouteSpare}, kind)
		})
	}
	return slices.Equal(holds(a), holds(b))
}

func sum(lines []string) string {
	digest := sha256.New()
	text := make([]byte, 0, 4096)
	for i, line := range lines {
		if text = append(text, line...); i < len(lines)-1 {
			text = append(text, '\n')
		}
		if len(text) > 3000 {
			_, _ = digest.Write(text) // never returns an error
			text = text[:0]
		}
	}
	_, _ = digest.Write(text)
	return hex.EncodeToString(digest.Sum(nil)[:8])
}

func inUTC(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func ordered[V any](m map[ServerID]V) []ServerID {
	return slices.SortedFunc(maps.Keys(m), ServerID.compare)
}

// Words in a line about a server that left traffic.
const (
	never         = "-"
	wordLost      = "lost"
	wordUnhealthy = "unhealthy"
)

func (p pin) words() []string {
	return []string{strconv.Itoa(p.start), strconv.Itoa(p.peak), inUTC(p.at)}
}

// appendTo appends the line for a server that left.
func (d departure) appendTo(line []byte, id ServerID, at time.Time) []byte {
	word := func(text string) { line = append(append(line, ' '), text...) }
	when := func(t time.Time) { line = t.UTC().AppendFormat(append(line, ' '), time.RFC3339Nano) }
	number := func(n int) { line = strconv.AppendInt(append(line, ' '), int64(n), 10) }
	line = append(line, lineLeft...)
	word(id.Upstream)
	line = id.Addr.AppendTo(append(line, ' '))
	when(at)
	if number(d.times); d.until.IsZero() {
		word(never)
	} else {
		when(d.until)
	}
	if d.lost {
		word(wordLost)
	}
	if s := d.server; d.unhealthy {
		word(wordUnhealthy)
		number(s.Weight)
		number(s.MaxConns)
		number(s.MaxFails)
		word(s.FailTimeout.String())
		word(strconv.FormatBool(s.Backup))
		word(cmp.Or(s.Host, never))
		word(s.Origin)
	}
	return bytes.TrimRight(line, " ")
}

// errMore means that the account was cut.
var errMore = errors.New("the account had more than fits")

// ReadHistory parses the lines of a history. On an error it also returns the strictest interpretation: everything
// that may be removed within a window has been removed.
func ReadHistory(lines []string, now time.Time, window time.Duration) (History, error) {
	if len(lines) == 0 {
		return History{}, nil
	}
	h := History{}.clone()
	if rest, ok := strings.CutPrefix(lines[0], lineSum+" "); !ok || rest != sum(lines[1:]) {
		return History{spent: now.Add(window)}, errors.New("the account's digest is another")
	}
	for i, text := range lines[1:] {
		if err := h.read(text); errors.Is(err, errMore) {
			h.spent = now.Add(window)
		} else if err != nil {
			return History{spent: now.Add(window)}, fmt.Errorf("line %d of the account: %q: %w", i+2, text, err)
		}
	}
	h.settle()
	return h, nil
}

// read parses one line.
func (h *History) read(text string) error {
	kind, rest, _ := strings.Cut(text, " ")
	w := words{rest: rest}
	switch kind {
	case lineSpent:
		h.spent = w.time()
	case lineDoubt:
		until := w.time()
		h.doubts[w.all()] = until
	case lineIndex:
		index := w.number()
		h.indexes[w.all()] = uint64(index)
	case lineHold:
		id := w.next()
		h.holds[id] = w.time()
	case lineAll:
		h.pin = w.pin()
	case lineService:
		name := upstream.KeyOf(w.next())
		h.pins[name] = w.pin()
	case lineSize:
		count := w.number()
		h.sizes = append(h.sizes, size{count, w.time()})
	case lineBack:
		h.back = w.time()
	case lineMissing:
		id := w.server()
		h.missing[id] = w.time()
	case lineReturned:
		h.returned[w.server()] = true
	case lineLeft:
		id := w.server()
		at, d := w.departure(id.Addr)
		h.leaves(id, at, d)
	case lineSpare:
		id := w.server()
		h.spare.put(id, w.time(), struct{}{})
	case lineRoutes:
		h.routes.held = w.time()
	case lineRouteBack:
		h.routes.back = w.time()
	case lineRouteGone:
		id, at := w.route()
		h.routes.gone[id] = at
	case lineRouteSpare:
		id, at := w.route()
		h.routes.spare[id] = at
	case lineRouteMissing:
		id, at := w.route()
		h.routes.missing[id] = at
	case lineMore:
		return errMore
	default:
		return errors.New("expected another word at its beginning")
	}
	if w.err == nil && w.rest != "" {
		w.err = fmt.Errorf("%q is too much", w.rest)
	}
	return w.err
}

// words splits a line into words. err is the first error.
type words struct {
	rest string
	err  error
}

func (w *words) next() string {
	word, rest, _ := strings.Cut(w.rest, " ")
	w.rest = rest
	if word == "" {
		w.fail(errors.New("it is too short"))
	}
	return word
}

// has consumes the next word if it is the given one.
func (w *words) has(word string) bool {
	if next, rest, _ := strings.Cut(w.rest, " "); next == word {
		w.rest = rest
		return true
	}
	return false
}

func (w *words) all() string {
	rest := w.rest
	w.rest = ""
	return rest
}

func (w *words) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *words) time() time.Time { return w.when(w.next()) }

func (w *words) when(word string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, word)
	if err != nil {
		w.fail(fmt.Errorf("%q is no time", word))
	}
	return t.UTC()
}

func (w *words) number() int { return w.count(w.next()) }

func (w *words) count(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil || n < 0 {
		w.fail(fmt.Errorf("%q is no number", word))
	}
	return n
}

func (w *words) yes() bool {
	word := w.next()
	yes, err := strconv.ParseBool(word)
	if err != nil {
		w.fail(fmt.Errorf("%q is neither true nor false", word))
	}
	return yes
}

func (w *words) server() ServerID {
	name, word := w.next(), w.next()
	if err := upstream.ValidName(name); err != nil {
		w.fail(err)
	}
	addr, err := netip.ParseAddrPort(word)
	if err != nil {
		w.fail(fmt.Errorf("%q is no address", word))
	}
	return ServerID{name, addr}
}

func (w *words) route() (RouteID, time.Time) {
	name, at := w.next(), w.time()
	id := RouteID{name, w.all()}
	if _, err := route.ParseText(id.Route, name); err != nil {
		w.fail(err)
	}
	return id, at
}

func (w *words) pin() pin {
	return pin{start: w.number(), peak: w.number(), at: w.time()}
}

func (w *words) departure(addr netip.AddrPort) (time.Time, departure) {
	at := w.time()
	d := departure{times: w.number(), server: &upstream.Server{Addr: addr}}
	if until := w.next(); until != never {
		d.until = w.when(until)
	}
	d.lost = w.has(wordLost)
	if d.unhealthy = w.has(wordUnhealthy); d.unhealthy {
		w.options(d.server)
	}
	return at, d
}

func (w *words) options(s *upstream.Server) {
	s.Weight, s.MaxConns, s.MaxFails = w.number(), w.number(), w.number()
	timeout, err := time.ParseDuration(w.next())
	if err != nil || timeout < 0 {
		w.fail(errors.New("found no fail_timeout"))
	}
	s.FailTimeout, s.Backup = timeout, w.yes()
	if host := w.next(); host != never {
		s.Host = host
	}
	s.Origin = w.all()
}
