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

// maxLine limits a line, far above a complete state of the default guard.max_servers.
const maxLine = 64 << 20

// Decoder reads the lines of a record, across consecutive files.
type Decoder struct {
	// Notes has a line for each part that could not be read.
	Notes []string

	known     bool // a complete state was read, and everything after it
	broken    bool // something after the previous complete state could not be read
	limits    guard.Config
	seen      upstream.Set
	differs   map[upstream.Key]*upstream.Upstream // what is written differently; nil: not written
	unhealthy map[string][]string
	behind    map[upstream.Key]upstream.Upstream
	in        guard.Input
	answers   map[netip.AddrPort]guard.Answer
	here      map[netip.Addr]bool
	result    upstream.Set
	next      replay.Moment // the flags of the next decision
}

// Moments yields the decisions of a file and the calm between them. Its error is a read error. Damage is skipped up to
// the next complete state, and noted.
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

// Gap notes that something is missing. Decoding resumes at the next complete state.
func (d *Decoder) Gap(why string) {
	d.known, d.broken = false, true
	d.note("%s", why)
}

// maxNotes limits the number of notes.
const maxNotes = 20

func (d *Decoder) note(format string, a ...any) {
	if len(d.Notes) < maxNotes {
		d.Notes = append(d.Notes, fmt.Sprintf(format, a...))
	}
}

var errLong = fmt.Errorf("the line is longer than %d bytes", maxLine)

// readLine reads a line of any length. If the line is too long, it returns no text.
func readLine(in *bufio.Reader) ([]byte, error) {
	part, err := in.ReadSlice('\n')
	if err == nil {
		return part, nil
	}
	text := bytes.Clone(part)
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = in.ReadSlice('\n')
		if long = long || len(text)+len(part) > maxLine; !long {
			text = append(text, part...)
		}
	}
	if long && (err == nil || errors.Is(err, io.EOF)) {
		return nil, errors.Join(errLong, err)
	}
	return text, err
}

// line applies a line. is reports whether it is a decision or calm.
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
	m.Frozen, m.Behind = d.in.Frozen, d.in.Behind
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

// take applies the changes of a line.
func (d *Decoder) take(l *line) error {
	if err := d.see(l); err != nil {
		return err
	}
	if err := d.write(l); err != nil {
		return err
	}
	if l.Frozen != nil {
		d.in.Frozen = *l.Frozen
	}
	if err := d.freeze(l); err != nil {
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
		d.here = map[netip.Addr]bool{} // earlier moments keep the old map
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
	all := maps.Clone(d.answers) // earlier moments keep the old map
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
	d.seen = d.seen.WithOut(out...)
	return nil
}

// freeze applies what the registries list of frozen upstreams.
func (d *Decoder) freeze(l *line) error {
	if len(l.Behind) == 0 {
		return nil
	}
	behind := maps.Clone(d.behind) // earlier moments keep the old map
	if behind == nil {
		behind = map[upstream.Key]upstream.Upstream{}
	}
	for name, w := range l.Behind {
		switch key := upstream.KeyOf(name); {
		case w == nil:
			delete(behind, key)
		case w.Out:
			behind[key] = upstream.Upstream{}
		default:
			u, err := w.upstream()
			if err != nil {
				return err
			}
			behind[key] = u
		}
	}
	d.behind, d.in.Behind = behind, nil
	if len(behind) > 0 {
		d.in.Behind = func(name string) (upstream.Upstream, bool) {
			u, frozen := behind[upstream.KeyOf(name)]
			return u, frozen
		}
	}
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
	d.result = d.seen.With(put, drop).WithOut()
	return nil
}
