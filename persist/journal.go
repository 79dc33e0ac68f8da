package persist

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
)

// The guard's account may have thousands of lines, and a change touches only a few of them. So with shards, long notes
// go into a journal: a file that begins with all notes, and to which changes are appended. The manifest records how
// much of the journal counts, so its reader gets the notes written with it, whatever was appended later:
//
//	# notes: 4pcugk2tmr6sx2k7wkvk3m7c7flsk4wd.notes 104857 0011223344…
//
// A change line gives the position: after line 12, remove 1 line and insert 2.
//
//	# change: 12 1 2
//
// Only the File that began a journal appends to it. A new journal begins once the changes are longer than all notes.
const (
	notesKey    = "# notes: "
	changeKey   = "# change: "
	notesSuffix = ".notes"

	// inlineNotes is how many bytes of notes may go into the manifest itself.
	inlineNotes = 4 << 10
	// lookAhead is how far to search for equal lines after lines that differ.
	lookAhead = 64
)

// note is one header line, split into its key and the rest.
type note struct{ key, text string }

// journal is a file of notes.
type journal struct {
	name  string
	lines []note
	base  int // bytes of the notes it began with
	size  int
	sum   hash.Hash // of the content; nil if the journal was read, not written
	ref   string    // the manifest's reference to it, if it was read
	info  fs.FileInfo
}

// linesOf returns the notes of a generation as header lines, without freezes.
func linesOf(g generation.Generation) iter.Seq[note] {
	return func(yield func(note) bool) {
		for _, of := range []struct {
			key   string
			texts []string
		}{{leavingKey, g.Leaving}, {pushingKey, g.Pushing}, {strangerKey, g.Strangers}, {guardKey, g.Guard}} {
			for _, text := range of.texts {
				if !yield(note{of.key, text}) {
					return
				}
			}
		}
	}
}

// String returns the manifest's reference to the journal.
func (j *journal) String() string {
	if j.sum == nil {
		return j.ref
	}
	return fmt.Sprintf("%s %d %x", j.name, j.size, j.sum.Sum(nil))
}

func appendNotes(dst []byte, lines []note) []byte {
	for _, l := range lines {
		dst = append(append(append(dst, l.key...), l.text...), '\n')
	}
	return dst
}

func sizeOf(lines []note) int {
	size := 0
	for _, l := range lines {
		size += len(l.key) + len(l.text) + 1
	}
	return size
}

// journalFor returns the journal that has the generation's notes, written to folder. The folder itself is not synced.
func (f *File) journalFor(g generation.Generation, lines []note, folder func() (Folder, error)) (*journal, error) {
	size := sizeOf(lines)
	if j := f.disk.journal; j != nil && j.sum != nil && j.size-j.base < size+inlineNotes {
		if slices.Equal(j.lines, lines) {
			return j, nil
		}
		dir, err := folder()
		if err != nil {
			return nil, err
		}
		next, err := j.follow(dir, lines)
		if err == nil || !errors.Is(err, errChanged) {
			return next, err
		}
	}
	dir, err := folder()
	if err != nil {
		return nil, err
	}
	text := appendNotes(make([]byte, 0, size), lines)
	// The same notes may have begun another journal, which counts until the manifest is replaced.
	j := &journal{lines: lines, base: size, size: size, sum: sha256.New()}
	j.name = contentName(fmt.Appendf(slices.Clip(text), "%s %d %d", g.Writer, g.Number, g.Notes)) + notesSuffix
	j.sum.Write(text)
	j.info, err = f.put(dir, j.name, text)
	return j, err
}

var errChanged = errors.New("somebody else changed it")

// follow appends the changes from the journal's lines to the new ones.
func (j *journal) follow(dir Folder, lines []note) (*journal, error) {
	if info, err := dir.Lstat(j.name); err != nil || !unchanged(j.info, info) {
		return nil, errors.Join(errChanged, err)
	}
	file, err := dir.OpenFile(j.name, os.O_WRONLY|os.O_APPEND|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(errChanged, err)
	}
	text := appendChanges(nil, j.lines, lines)
	next := &journal{name: j.name, lines: lines, base: j.base, size: j.size + len(text), sum: j.sum}
	next.sum.Write(text)
	if _, err = file.Write(text); err == nil {
		err = file.Sync()
	}
	if err == nil {
		next.info, err = file.Stat()
	}
	return next, errors.Join(err, file.Close())
}

// appendChanges appends the changes that turn from into to.
func appendChanges(dst []byte, from, to []note) []byte {
	add := func(at, gone int, come []note) {
		dst = fmt.Appendf(dst, "%s%d %d %d\n", changeKey, at, gone, len(come))
		dst = appendNotes(dst, come)
	}
	at := 0 // lines already done
	for len(from) > 0 && len(to) > 0 {
		if from[0] == to[0] {
			from, to, at = from[1:], to[1:], at+1
			continue
		}
		gone, come, found := meet(from, to)
		if !found {
			break
		}
		add(at, gone, to[:come])
		from, to, at = from[gone:], to[come:], at+come
	}
	if len(from)+len(to) > 0 {
		add(at, len(from), to)
	}
	return dst
}

// meet returns how many lines of both to skip until they are equal again.
func meet(from, to []note) (gone, come int, found bool) {
	for both := 1; both <= lookAhead; both++ {
		for gone := 0; gone <= both; gone++ {
			if come := both - gone; gone < len(from) && come < len(to) && from[gone] == to[come] {
				return gone, come, true
			}
		}
	}
	return 0, 0, false
}

// readJournal reads the notes for a reference as written by String.
func readJournal(ref string, from *shardReader) (text []byte, name string, info fs.FileInfo, err error) {
	words := strings.Fields(ref)
	if len(words) != 3 || !isContent(words[0], notesSuffix) {
		return nil, "", nil, fmt.Errorf("found notes %q, expected a file of notes, its length and its digest: %w", ref, errDamaged)
	}
	all, info, err := from.read(words[0])
	if err != nil {
		return nil, "", nil, err
	}
	size, err := strconv.Atoi(words[1])
	if err != nil || size < 0 || size > len(all) {
		return nil, "", nil, fmt.Errorf("%s: it has %d bytes, expected %s", from.path(words[0]), len(all), words[1])
	}
	if sum := sha256.Sum256(all[:size]); hex.EncodeToString(sum[:]) != words[2] {
		return nil, "", nil, fmt.Errorf("%s: it is not as it was written", from.path(words[0]))
	}
	text, err = replayed(all[:size])
	return text, words[0], info, err
}

// replayed applies a journal's changes and returns the resulting notes.
func replayed(text []byte) ([]byte, error) {
	var lines [][]byte
	for len(text) > 0 {
		var line []byte
		if line, text, _ = bytes.Cut(text, []byte{'\n'}); !bytes.HasPrefix(line, []byte(changeKey)) {
			lines = append(lines, line)
			continue
		}
		var at, gone, come int
		if n, err := fmt.Sscanf(string(line), changeKey+"%d %d %d", &at, &gone, &come); n != 3 || err != nil ||
			min(at, gone, come) < 0 || at > len(lines) || gone > len(lines)-at || come > bytes.Count(text, []byte{'\n'}) {
			return nil, fmt.Errorf("found %q, expected a change of %d lines", line, len(lines))
		}
		var comes [][]byte
		for range come {
			line, text, _ = bytes.Cut(text, []byte{'\n'})
			comes = append(comes, line)
		}
		lines = slices.Replace(lines, at, at+gone, comes...)
	}
	return append(bytes.Join(lines, []byte{'\n'}), '\n'), nil
}
