// Package persist keeps the accepted upstreams in an nginx conf file.
//
// Whoever reads the file sees the whole old one or the whole new one, also after a
// kill, a crash or a full disk, and what is there already is not written again. The
// file is swallowkeeper's own: edits are noticed, reported and lost, and a file that it
// did not write is never touched. The package knows the disk; nginx's syntax is
// internal/nginxconf.
//
// Beside the file, with names that no `include *.conf` matches, stand a lock, for as
// long as it is written a temporary file, and for as long as it is checked the
// previous one.
package persist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// File is the conf file of one swallowkeeper, which alone writes it. Its methods may be
// called from any goroutine.
type File struct {
	cfg  Config
	on   System
	path string // cfg.Path behind its symbolic links
	log  logrus.FieldLogger
	// unlock gives the lock back; nil once that is done.
	unlock func() error
	// writer names this process in what it writes.
	writer string

	mu       sync.Mutex
	renderer renderer
	read     bool                // the file was read once, so last holds
	last     upstream.Generation // what was read or written last; without its set
	newest   int                 // in the history at the start
	kept     func()              // puts what was saved last into the history; nil once that is done
	disk     disk

	left atomic.Pointer[fs.FileInfo] // the file as the last Load or Save left it; nil before the first
}

// disk is the file as it was last seen.
type disk struct {
	info    fs.FileInfo // nil: none, or not known
	digest  string      // of the blocks that are there; "" is not known
	leaving []string
	pushing []string
	others  []string // strangers
	frozen  []upstream.Freeze
	guard   []string
	intact  bool // it is what a Save wrote
}

// Open takes the lock of the file and clears away what a crash left behind. The file
// itself need not exist. Where another process has the lock the error is a
// *[LockedError].
func Open(cfg Config, log logrus.FieldLogger) (*File, error) {
	return OpenOn(machine{}, writer(), cfg, log)
}

// OpenOn is Open on another file system than the machine's. writer names the process in what it writes.
func OpenOn(on System, writer string, cfg Config, log logrus.FieldLogger) (*File, error) {
	path, err := resolve(on, cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("open the conf file: %w", err)
	}
	unlock, err := on.Lock(path)
	if err != nil {
		return nil, fmt.Errorf("lock the conf file %s: %w", path, err)
	}
	f := &File{cfg: cfg, on: on, path: path, log: log.WithField("file", path), unlock: unlock, writer: writer}
	if err := f.clear(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the conf file %s: %w", path, err), f.Close())
	}
	return f, nil
}

// Archive puts what was saved last into the history. Save leaves that for later, so that it is on nobody's
// way to a gateway; without a call the next Save does it, or Close.
func (f *File) Archive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archive()
}

func (f *File) archive() {
	if f.kept != nil {
		f.kept()
		f.kept = nil
	}
}

// Close gives the lock back. The lock's file stays: removing it would let two others
// lock two different files.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unlock == nil {
		return nil
	}
	f.archive()
	err := f.unlock()
	f.unlock = nil
	return err
}

// LetGo is Close for who can do no more about an error than log it.
func (f *File) LetGo(log logrus.FieldLogger) {
	if err := f.Close(); err != nil {
		log.WithError(err).Warn("the conf file's lock is not given back cleanly")
	}
}

// clear removes temporary files of a run that was killed, and puts the previous file
// back where such a run had not finished checking the new one.
func (f *File) clear() error {
	if err := f.removeTemps(); err != nil {
		return fmt.Errorf("remove temporary files of an earlier run: %w", err)
	}
	f.clearHistory()
	return f.recover()
}

func (f *File) recover() error {
	back, err := putBack(f.on, f.path)
	if err != nil {
		return fmt.Errorf("put the previous file back: %w", err)
	}
	if back {
		f.log.Warn("the file in place was never checked: the previous one is back")
	}
	return nil
}

// Load returns what the file holds, or the zero Generation where there is no file, or
// an empty one, yet. A file of another writer is an error that wraps [ErrForeign]. One
// that was edited is taken as it is, with a warning.
func (f *File) Load() (upstream.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.leave()
	c, err := f.readSafe()
	switch {
	case errors.Is(err, errDamaged):
		c, err = f.mend(c, err)
	case err == nil && c.empty && c.info != nil:
		if mended, failed := f.mend(c, errBlank); failed == nil {
			c = mended
		}
	}
	if err != nil {
		return upstream.Generation{}, fmt.Errorf("load the conf file %w", err)
	}
	if c.edited {
		f.log.Warn("the file was edited: it is taken as it is now, and the next change overwrites it")
	}
	f.begin(c)
	f.disk = c.disk()
	f.keepBaseline(c)
	return c.Generation, nil
}

// readSafe reads the file and makes sure that a power cut leaves it there: whoever brought it into place may have been
// killed before that, and what is read here goes on to the gateways.
func (f *File) readSafe() (contents, error) {
	c, err := readFile(f.on, f.path)
	if failed := f.folder().Sync(); err == nil && failed != nil {
		err = fmt.Errorf("%s: %w", f.path, failed)
	}
	return c, err
}

// begin takes what was read first. The file may have been lost or be an old one that was
// brought back: the history knows which numbers were used.
func (f *File) begin(c contents) {
	f.read = true
	f.last, f.last.Set = c.Generation, upstream.Set{}
	f.newest = newestKept(f.on, f.path)
}

// Save makes the file hold the generation and returns it as written. It numbers it:
// the number is the previous one's plus one, or the history's newest plus one where that is
// more, and the time g's, or now where that is
// zero. Where the blocks are the same as before, number, time and digest stay, and
// nothing is written unless the notes differ (Leaving, Pushing, Strangers, Frozen, Guard), or the file was
// edited or removed.
//
// With a check configured, new blocks stay only if the check passes; else the old
// file goes back and the error has the end of the check's output.
func (f *File) Save(ctx context.Context, g upstream.Generation) (upstream.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.leave()
	saved, err := f.save(ctx, g)
	if err != nil {
		return upstream.Generation{}, fmt.Errorf("save the conf file %s: %w", f.path, err)
	}
	return saved, nil
}

func (f *File) save(ctx context.Context, g upstream.Generation) (upstream.Generation, error) {
	if f.unlock == nil {
		return upstream.Generation{}, fs.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return upstream.Generation{}, err
	}
	f.archive() // the renderer is about to use its memory again
	blocks, err := f.renderer.render(g.Set)
	if err != nil {
		return upstream.Generation{}, err
	}
	leaving, err := cleanNames("leaving", g.Leaving)
	if err != nil {
		return upstream.Generation{}, err
	}
	pushing, err := cleanNames("pushing", g.Pushing)
	if err != nil {
		return upstream.Generation{}, err
	}
	others, err := cleanNames("stranger", g.Strangers)
	if err != nil {
		return upstream.Generation{}, err
	}
	frozen, err := cleanFreezes(g.Frozen)
	if err != nil {
		return upstream.Generation{}, err
	}
	if err := g.Signed.Valid(); err != nil {
		return upstream.Generation{}, fmt.Errorf("the order: %w", err)
	}
	var lines []string
	for _, line := range g.Guard {
		lines = append(lines, safetext.OneLine(line))
	}
	if err := f.look(); err != nil {
		return upstream.Generation{}, err
	}

	next := upstream.Generation{
		Number: f.last.Number, Time: f.last.Time, Digest: digest(blocks), Reason: f.last.Reason, Signed: f.last.Signed,
		Leaving: leaving, Pushing: pushing, Strangers: others, Frozen: frozen, Guard: lines, Writer: f.last.Writer,
	}
	if next.Digest != f.last.Digest {
		next.Number = max(next.Number, f.newest) + 1
		next.Reason, next.Signed, next.Writer = safetext.OneLine(g.Reason), g.Signed, f.writer
		next.Time = g.Time
		if next.Time.IsZero() {
			next.Time = time.Now()
		}
		next.Time = next.Time.UTC().Round(0)
	}
	there := f.disk.intact && f.disk.digest == next.Digest
	if is := (disk{leaving: leaving, pushing: pushing, others: others, frozen: frozen, guard: lines}); !there || !f.disk.sameNotes(is) {
		info, err := f.write(ctx, next, blocks, !there)
		if err != nil {
			f.disk = disk{} // look again
			return upstream.Generation{}, err
		}
		is.info, is.digest, is.intact = info, next.Digest, true
		f.disk = is
	}
	if next.Number != f.last.Number {
		header, number := renderHeader(plain(next)), next.Number
		f.kept = func() { f.keep(header, blocks, number) }
	}
	f.last = next
	next.Set, next.Leaving, next.Pushing = g.Set, slices.Clone(leaving), slices.Clone(pushing)
	next.Frozen, next.Strangers, next.Guard = slices.Clone(frozen), slices.Clone(others), slices.Clone(lines)
	return next, nil
}

// sameNotes reports whether both have the same notes in their headers.
func (d disk) sameNotes(o disk) bool {
	return slices.Equal(d.guard, o.guard) && slices.Equal(d.leaving, o.leaving) && slices.Equal(d.pushing, o.pushing) &&
		slices.Equal(d.others, o.others) &&
		slices.EqualFunc(d.frozen, o.frozen, func(a, b upstream.Freeze) bool {
			return a.Name == b.Name && a.Until.Equal(b.Until) && a.Signed == b.Signed
		})
}

func digest(blocks []byte) string {
	sum := sha256.Sum256(blocks)
	return hex.EncodeToString(sum[:])
}

func cleanFreezes(freezes []upstream.Freeze) ([]upstream.Freeze, error) {
	for _, f := range freezes {
		if err := f.Signed.Valid(); err != nil {
			return nil, fmt.Errorf("the freeze: %w", err)
		}
		if err := f.Name.Valid(); err != nil {
			return nil, fmt.Errorf("frozen upstream %q: %w", string(f.Name), err)
		}
	}
	freezes = slices.Clone(freezes)
	for i := range freezes {
		freezes[i].Until = freezes[i].Until.UTC().Round(0)
	}
	slices.SortFunc(freezes, func(a, b upstream.Freeze) int { return cmp.Compare(a.Name, b.Name) })
	return freezes, nil
}

func cleanNames(what string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	for _, name := range names {
		if err := upstream.ValidName(name); err != nil {
			return nil, fmt.Errorf("%s upstream %q: %w", what, name, err)
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// look brings what is known of the file up to date: somebody may have removed, edited
// or replaced it.
func (f *File) look() error {
	if path, err := resolve(f.on, f.cfg.Path); err != nil {
		return err
	} else if path != f.path {
		return fmt.Errorf("%s leads to %s now: restart swallowkeeper to follow it", f.cfg.Path, path)
	}
	if info, err := f.folder().Lstat(filepath.Base(f.path)); err == nil && unchanged(f.disk.info, info) {
		f.disk.info = info // mode and owner may be others
		return nil
	}
	if err := f.recover(); err != nil {
		return err
	}
	c, err := f.readSafe()
	if err != nil && (!f.read || !errors.Is(err, errDamaged)) {
		return err
	}
	was := f.disk
	if f.read && err == nil && f.outdates(c) {
		return &NewerError{Number: c.Number, Writer: c.Writer, Ours: f.last.Number}
	}
	f.disk = c.disk()
	switch {
	case !f.read:
		f.begin(c)
	case c.info == nil || c.empty:
		if was.info != nil {
			f.log.Warn("the file vanished: writing it again")
		}
	case err != nil || c.edited || was.info != nil && c.Digest != f.last.Digest:
		f.disk.intact = false
		f.log.Warn("the file was changed by someone else: overwriting that")
	case c.Number > f.last.Number:
		// A Save that failed after all had brought its file into place, or another process came to the same blocks.
		f.last, f.last.Set = c.Generation, upstream.Set{}
	}
	return nil
}

func unchanged(was, is fs.FileInfo) bool {
	return was != nil && sameFile(was, is) && was.Size() == is.Size() && was.ModTime().Equal(is.ModTime())
}

// write puts the generation's file in place. check says that its blocks are new.
func (f *File) write(ctx context.Context, g upstream.Generation, blocks []byte, check bool) (fs.FileInfo, error) {
	check = check && len(f.cfg.Check) > 0
	dir, name := f.folder(), filepath.Base(f.path)
	temp, err := f.writeTemp(f.disk.info, renderHeader(g), blocks)
	if err != nil {
		return nil, err
	}
	if check {
		if err := f.keepPrevious(); err != nil {
			return nil, errors.Join(fmt.Errorf("keep the previous file: %w", err), dir.Remove(temp.name))
		}
	}
	if err := dir.Rename(temp.name, name); err != nil {
		err = errors.Join(err, dir.Remove(temp.name))
		if check {
			_, failed := putBack(f.on, f.path)
			err = errors.Join(err, failed)
		}
		return nil, err
	}
	err = dir.Sync()
	if !check {
		return temp.info, err
	}
	if err == nil {
		err = runCheck(ctx, f.cfg.Check, f.cfg.CheckTimeout)
	}
	if err != nil {
		if _, failed := putBack(f.on, f.path); failed != nil {
			return nil, errors.Join(err, fmt.Errorf("put the previous file back: %w", failed))
		}
		return nil, err
	}
	return temp.info, dropPrevious(f.on, f.path)
}
