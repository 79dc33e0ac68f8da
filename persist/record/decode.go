package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

// mostLine bounds a line, far above a whole state of as many servers as guard.max_servers allows by default.
const mostLine = 64 << 20

// Decoder reads the lines of a record, over several files one after the other.
type Decoder struct {
	// Notes say what could not be read, a line each.
	Notes []string

	known     bool // there was a whole state, and all after it could be read
	broken    bool // something after the state before could not be read
	limits    guard.Config
	seen      upstream.Set
	differs   map[upstream.Key]*upstream.Upstream // what is written otherwise; nil: not at all
	unhealthy map[string][]string
	in        guard.Input
	answers   map[netip.AddrPort]guard.Answer
	here      map[netip.Addr]bool
	result    upstream.Set
	next      replay.Moment // the flags of what begins
}

// Moments yields the decisions of one file, and the calm between them. The error is one of reading: what is damaged
// is read past, up to the next whole state, and noted.
func (d *Decoder) Moments(name string, file io.Reader) iter.Seq2[replay.Moment, error] {
	return func(yield func(replay.Moment, error) bool) {
		in := bufio.NewReaderSize(file, 64<<10)
		skipped, number := 0, 0
		for {
			text, err := readLine(in)
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLong) {
				yield(replay.Moment{}, fmt.Errorf("read %s: %w", name, err))
				return
			}
			last := errors.Is(err, io.EOF)
			if last && len(text) == 0 {
				break
			}
			number++
			m, is, wrong := replay.Moment{}, false, errLong
			if !errors.Is(err, errLong) {
				m, is, wrong = d.line(text)
			}
			switch {
			case wrong != nil && last:
				d.known, d.broken = false, true
				d.note("%s:%d: the last line was not written to its end: it is read past", name, number)
			case wrong != nil:
				d.known, d.broken = false, true
				d.note("%s:%d: %s: all up to the next whole state is read past", name, number, wrong)
			case is:
				if !yield(m, nil) {
					return
				}
			case !d.known:
				skipped++
			}
			if last {
				break
			}
		}
		if skipped > 0 {
			d.note("%s: %d lines have no whole state before them and are read past", name, skipped)
		}
	}
}

// Gap notes that something is missing: what follows counts from its next whole state on.
func (d *Decoder) Gap(why string) {
	d.known, d.broken = false, true
	d.note("%s", why)
}

// mostNotes bounds what is noted.
const mostNotes = 20

func (d *Decoder) note(format string, a ...any) {
	if len(d.Notes) < mostNotes {
		d.Notes = append(d.Notes, fmt.Sprintf(format, a...))
	}
}

var errLong = fmt.Errorf("the line is longer than %d bytes", mostLine)

// readLine reads a line of any length. Of one that is too long it returns nothing.
func readLine(in *bufio.Reader) ([]byte, error) {
	part, err := in.ReadSlice('\n')
	if err == nil {
		return part, nil
	}
	text := bytes.Clone(part)
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = in.ReadSlice('\n')
		if long = long || len(text)+len(part) > mostLine; !long {
			text = append(text, part...)
		}
	}
	if long && (err == nil || errors.Is(err, io.EOF)) {
		return nil, errors.Join(errLong, err)
	}
	return text, err
}

// line takes a line in. is says that it is a decision or calm.
func (d *Decoder) line(text []byte) (m replay.Moment, is bool, err error) {
	l, err := decodeLine(text)
	if err != nil {
		return m, false, err
	}
	if l.Begin == nil && !d.known {
		return m, false, nil
	}
	switch {
	case l.Calm:
		return replay.Moment{Input: guard.Input{Now: l.Time}, Calm: true}, true, nil
	case l.Begin != nil:
		return m, false, d.begin(l)
	}
	before := d.result
	if err := d.take(l); err != nil {
		return m, false, err
	}
	m, d.next = d.next, replay.Moment{}
	m.Accepted, m.Seen, m.Empty, m.Away, m.Indexes = before, d.in.Seen, d.in.Empty, d.in.Away, d.in.Indexes
	m.Now, m.Approved, m.Answers, m.Limits, m.Result = l.Time, l.Approved, d.answers, d.limits, d.result
	m.Waiting, m.Unsaved = l.Waiting, l.Unsaved
	m.Local = d.here
	m.Said()
	return m, true, nil
}

func (d *Decoder) begin(l *line) (err error) {
	if !l.Begin.Whole && !d.known {
		return nil
	}
	if d.limits, err = decodeLimits(l.Begin.Limits); err != nil {
		return err
	}
	history, err := guard.ReadHistory(l.Begin.Account, l.Time, d.limits.Window)
	if err != nil {
		d.note("%s: %s: it is read in the strictest way", l.Time.Format(time.RFC3339Nano), err)
	}
	if l.Begin.Whole {
		*d = Decoder{Notes: d.Notes, limits: d.limits, broken: d.broken}
	}
	if err := d.take(l); err != nil {
		return err
	}
	d.next = replay.Moment{Fresh: l.Begin.Fresh || d.broken, Began: l.Begin.Began || d.broken}
	d.next.History = history
	d.known, d.broken = true, false
	return nil
}

// take takes the changes of a line in.
func (d *Decoder) take(l *line) error {
	if err := d.see(l); err != nil {
		return err
	}
	if err := d.write(l); err != nil {
		return err
	}
	if l.Empty != nil {
		d.in.Empty = *l.Empty
	}
	if l.Away != nil {
		d.in.Away = *l.Away
	}
	if l.Indexes != nil {
		d.in.Indexes = *l.Indexes
	}
	if l.Here != nil {
		d.here = map[netip.Addr]bool{} // who has the old ones keeps them
		for _, text := range *l.Here {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return fmt.Errorf("%q is no address", text)
			}
			d.here[addr] = true
		}
	}
	if len(l.Witness) == 0 {
		return nil
	}
	all := maps.Clone(d.answers) // who has the old ones keeps them
	if all == nil {
		all = map[netip.AddrPort]guard.Answer{}
	}
	for text, word := range l.Witness {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("%q is no address", text)
		}
		if word == nil {
			delete(all, addr)
		} else if all[addr], err = parseAnswer(*word); err != nil {
			return err
		}
	}
	d.answers = all
	return nil
}

func (d *Decoder) see(l *line) error {
	var changed []upstream.Upstream
	var gone []string
	for _, name := range slices.Sorted(maps.Keys(l.Seen)) {
		b := l.Seen[name]
		if b == nil {
			gone = append(gone, name)
			continue
		}
		u, err := b.upstream()
		if err != nil {
			return err
		}
		if !upstream.SameName(u.Name, name) {
			return fmt.Errorf("upstream %q stands under %q", u.Name, name)
		}
		changed = append(changed, u)
	}
	d.seen = d.seen.With(changed, gone)
	if len(l.Unhealthy) > 0 {
		if err := d.unusable(l); err != nil {
			return err
		}
	}
	d.in.Seen = d.seen
	return nil
}

func (d *Decoder) unusable(l *line) error {
	if d.unhealthy == nil {
		d.unhealthy = map[string][]string{}
	}
	for name, addrs := range l.Unhealthy {
		if err := upstream.ValidName(name); err != nil {
			return fmt.Errorf("upstream %q: %w", name, err)
		}
		for _, text := range addrs {
			if _, err := netip.ParseAddrPort(text); err != nil {
				return fmt.Errorf("%q is no address", text)
			}
		}
		if len(addrs) == 0 {
			delete(d.unhealthy, name)
		} else {
			d.unhealthy[name] = addrs
		}
	}
	var out []upstream.Out
	for name, addrs := range d.unhealthy {
		for _, addr := range addrs {
			out = append(out, upstream.Out{Service: name, Upstream: name, Addr: addr, Unhealthy: true})
		}
	}
	d.seen = d.seen.WithOut(out)
	return nil
}

func (d *Decoder) write(l *line) error {
	if d.differs == nil {
		d.differs = map[upstream.Key]*upstream.Upstream{}
	}
	for name, w := range l.Written {
		key := upstream.KeyOf(name)
		switch {
		case w == nil:
			delete(d.differs, key)
		case w.Out:
			d.differs[key] = nil
		default:
			u, err := w.upstream()
			if err != nil {
				return err
			}
			if !upstream.SameName(u.Name, name) {
				return fmt.Errorf("upstream %q stands under %q", u.Name, name)
			}
			d.differs[key] = &u
		}
	}
	var put []upstream.Upstream
	var drop []string
	for key, u := range d.differs {
		if u == nil {
			drop = append(drop, string(key))
		} else {
			put = append(put, *u)
		}
	}
	d.result = d.seen.With(put, drop).WithOut(nil)
	return nil
}
