package guard

import (
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

	"swallowkeeper/upstream"
)

// A history is written as lines of words, one item a line, the first with a digest of the others:
//
//	sum 0011223344556677
//	all START PEAK TIME              what there was when a hold on removals began, see pin
//	service NAME START PEAK TIME     the same of a hold on one service
//	size COUNT TIME                  how many servers there were from then on
//	missing NAME ADDR TIME           since when
//	returned NAME ADDR               came back since something is missing
//	back TIME                        when the last of them did
//	doubt TIME REGISTRY              until when
//	index NUMBER REGISTRY            of its last answer
//	hold ID TIME                     since when
//	spent TIME                       until when nothing may go
//	left NAME ADDR TIME TIMES UNTIL  a server left traffic, for the how manieth time, and until when damping keeps it
//	                                 out; then "lost" where nobody took its place, and "unhealthy" and how it was
//	spare NAME ADDR TIME             a server came to a service, and took nobody's place yet
//	more                             there was more than fits
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
)

// mostLines bounds what a history takes in the conf file's header: about a megabyte.
const mostLines = 10_000

// Lines is the history as it is written; none where it remembers nothing.
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
	for _, id := range ordered(h.left) {
		if d := h.left[id]; d.lost || d.unhealthy || d.times > 1 {
			add(append([]string{lineLeft, id.Upstream, id.Addr.String()}, d.words()...)...)
		}
	}
	for _, id := range ordered(h.spare) {
		add(lineSpare, id.Upstream, id.Addr.String(), inUTC(h.spare[id]))
	}
	if len(lines) > mostLines {
		lines = append(lines[:mostLines], lineMore)
	}
	if len(lines) == 0 {
		return nil
	}
	return append([]string{lineSum + " " + sum(lines)}, lines...)
}

// SameHolds reports whether two accounts have the same to say of holds, and of what is missing or in doubt. What
// else they have counts with the next generation only.
func SameHolds(a, b []string) bool {
	holds := func(lines []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			kind, _, _ := strings.Cut(line, " ")
			return slices.Contains([]string{lineSum, lineIndex, lineSize, lineLeft, lineSpare}, kind)
		})
	}
	return slices.Equal(holds(a), holds(b))
}

func sum(lines []string) string {
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(digest[:8])
}

func inUTC(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func ordered[V any](m map[ServerID]V) []ServerID {
	return slices.SortedFunc(maps.Keys(m), ServerID.compare)
}

// Words of a line of what left traffic.
const (
	never         = "-"
	wordLost      = "lost"
	wordUnhealthy = "unhealthy"
)

func (p pin) words() []string {
	return []string{strconv.Itoa(p.start), strconv.Itoa(p.peak), inUTC(p.at)}
}

func (d departure) words() []string {
	until := never
	if !d.until.IsZero() {
		until = inUTC(d.until)
	}
	words := []string{inUTC(d.at), strconv.Itoa(d.times), until}
	if d.lost {
		words = append(words, wordLost)
	}
	if s := d.server; d.unhealthy {
		words = append(words, wordUnhealthy, strconv.Itoa(s.Weight), strconv.Itoa(s.MaxConns), strconv.Itoa(s.MaxFails),
			s.FailTimeout.String(), strconv.FormatBool(s.Backup), cmp.Or(s.Host, never), s.Origin)
	}
	return words
}

// errMore says that the account has not all of what there was.
var errMore = errors.New("the account had more than fits")

// ReadHistory reads the lines of a history. Where they can't be read it returns the error and the strictest
// reading: that what may be removed within a window has been removed.
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
	return h, nil
}

// read takes one line in.
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
		h.left[id] = w.departure(id.Addr)
	case lineSpare:
		id := w.server()
		h.spare[id] = w.time()
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

// words reads a line word by word; err is the first thing that is wrong.
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

// has takes a word where it is the next one.
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

func (w *words) pin() pin {
	return pin{start: w.number(), peak: w.number(), at: w.time()}
}

func (w *words) departure(addr netip.AddrPort) departure {
	d := departure{at: w.time(), times: w.number(), server: upstream.Server{Addr: addr}}
	if until := w.next(); until != never {
		d.until = w.when(until)
	}
	d.lost = w.has(wordLost)
	if d.unhealthy = w.has(wordUnhealthy); d.unhealthy {
		w.options(&d.server)
	}
	return d
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
