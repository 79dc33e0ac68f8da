// Package persist keeps the accepted upstreams in an nginx conf file.
//
// A reader sees either the whole old file or the whole new one, even after a kill, a crash or a full disk. A state that
// is already there is not written again. The file belongs to swallowkeeper: edits are noticed, reported and
// overwritten. A file that swallowkeeper did not write is never touched. This package handles the disk; nginx's syntax
// is in internal/nginxconf.
//
// Above a size, the state is split into shards, and the file is a manifest that includes them. A change then writes
// only the shards that it touches.
//
// The lock, the history and the shards are beside the file, with names that no `include *.conf` matches. So are the
// temporary file while it is written and the previous file while the new one is checked.
package persist

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/generation"
)

// File is the conf file of one swallowkeeper, its only writer. Its methods are safe for concurrent use.
type File struct {
	cfg  Config
	on   System
	path string // cfg.Path with symbolic links resolved
	log  logrus.FieldLogger
	// unlock releases the lock; nil once released.
	unlock func() error
	// writer identifies this process in what it writes.
	writer string

	mu       sync.Mutex
	renderer renderer
	read     bool                  // the file was read once, so last is valid
	last     generation.Generation // last read or written
	body     *body                 // how last.Set is written; nil: unknown
	sharded  bool                  // last.Set was written as shards
	tried    *notes                // notes of a failed Save, which may be in place; nil: none failed
	newest   int                   // newest in the history at startup, or when someone else changed the file
	known    []stamp               // the history, oldest first; nil: not read
	swept    time.Time             // last search for unnamed shards
	unnamed  map[string]time.Time  // unnamed shards, and since when they are known
	sweepDue bool                  // there may be unnamed shards
	orphans  []string              // upstreams of another process's file that we overwrite
	archives func()                // adds the last save to the history; nil once done
	disk     disk

	left atomic.Pointer[fs.FileInfo] // the file after the last Load or Save; nil before the first
}

// disk is the file as it was last seen.
type disk struct {
	info   fs.FileInfo // nil: no file, or unknown
	digest string      // of the blocks in place; "": unknown
	notes  notes
	intact bool // as a Save wrote it

	layout  *layout  // of its shards, unchanged since written; nil: unknown
	journal *journal // holds its notes; nil: they are in the file, or unknown
}

// Open locks the file and cleans up after a crash. The file itself need not exist. If another process holds the lock,
// the error is a *[LockedError].
func Open(cfg Config, log logrus.FieldLogger) (*File, error) {
	return OpenOn(machine{}, writer(), cfg, log)
}

// OpenOn is Open on the given file system. writer identifies the process in what it writes.
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

// Archive adds the last save to the history. Save defers this so that it never delays a push. Without a call, the next
// Save or Close does it.
func (f *File) Archive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archive()
}

func (f *File) archive() {
	if f.archives != nil {
		f.archives()
		f.archives = nil
	}
	f.sweep(time.Now())
}

// Close releases the lock. The lock file stays: removing it would let two processes lock two different files.
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

// Release is Close for callers that can only log the error.
func (f *File) Release(log logrus.FieldLogger) {
	if err := f.Close(); err != nil {
		log.WithError(err).Warn("the conf file's lock is not given back cleanly")
	}
}

// clear removes temporary files of a killed run, and restores the previous file if such a run had not finished checking
// the new one.
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

// Load returns what the file holds, or the zero Generation if it does not exist or is empty. For a file that someone
// else wrote, the error wraps [ErrForeign]. An edited file is accepted as it is, with a warning.
func (f *File) Load() (generation.Generation, error) {
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
		return generation.Generation{}, fmt.Errorf("load the conf file %w", err)
	}
	if c.edited {
		f.log.Warn("the file was edited: it is taken as it is now, and the next change overwrites it")
	}
	if c.lost != nil {
		f.log.WithError(c.lost).Error("some of the file's notes are lost, and the guard's account with them: no removal goes through for the window's time")
	}
	f.begin(c)
	f.disk = c.disk()
	f.keepBaseline(c)
	f.sweepDue = true
	f.sweep(time.Now())
	return c.Generation, nil
}

// readSafe reads the file and syncs its folder: whoever renamed it into place may have been killed before syncing, and
// what is read here goes on to the gateways.
func (f *File) readSafe() (contents, error) {
	c, err := readFile(f.on, f.path)
	if failed := f.folder().Sync(); err == nil && failed != nil {
		err = fmt.Errorf("%s: %w", f.path, failed)
	}
	return c, err
}

// begin takes over what was read first. The file may be lost, or an old copy; the history shows which numbers were
// used.
func (f *File) begin(c contents) {
	f.read = true
	f.take(c)
	f.newest = newestKept(f.on, f.path)
}

// take makes c the last known state.
func (f *File) take(c contents) {
	f.last, f.tried = c.Generation, nil
	f.body, f.sharded = nil, c.shards > 0
	if c.layout != nil {
		b := f.manifest(c.layout)
		f.body = &b
	}
}

// Save makes the file hold the generation and returns it as written. The number is one more than the last one's, or
// than the history's newest if that is higher. The time is g's, or now if that is zero. If the blocks are unchanged,
// number, time and digest stay, and nothing is written unless the notes differ (Leaving, Pushing, Strangers, Frozen,
// Guard), or the file was edited or removed. If it overwrites an older copy or another process's file, upstreams that
// are only there become Leaving.
//
// If a check is configured, new blocks stay only if it passes. If not, the old file is restored, and the error has the
// end of the check's output.
func (f *File) Save(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.leave()
	saved, err := f.save(ctx, g)
	if err != nil {
		return generation.Generation{}, fmt.Errorf("save the conf file %s: %w", f.path, err)
	}
	return saved, nil
}

func (f *File) save(ctx context.Context, g generation.Generation) (generation.Generation, error) {
	if f.unlock == nil {
		return generation.Generation{}, fs.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return generation.Generation{}, err
	}
	f.archive() // before the renderer reuses its buffers
	is, err := cleanNotes(g)
	if err != nil {
		return generation.Generation{}, err
	}
	if err := g.Signed.Valid(); err != nil {
		return generation.Generation{}, fmt.Errorf("the order: %w", err)
	}
	if err := f.look(); err != nil {
		return generation.Generation{}, err
	}
	b, err := f.compose(g.Set)
	if err != nil {
		return generation.Generation{}, err
	}
	is.leaving = with(is.leaving, f.orphans, g.Set)

	next := is.on(generation.Generation{
		Number: f.last.Number, Time: f.last.Time, Digest: b.digest, Reason: f.last.Reason, Signed: f.last.Signed, Writer: f.last.Writer, Notes: f.last.Notes,
	})
	if first := next.Notes == 0 && !is.same(notes{}); first || !is.same(notesOf(f.last)) {
		next.Notes++
	}
	same := b.digest == f.last.Digest || f.last.Number > 0 && g.Set.Equal(f.last.Set)
	if !same {
		next.Number = max(next.Number, f.newest) + 1
		next.Reason, next.Signed, next.Writer = g.Reason, g.Signed, f.writer
		next.Time = g.Time
		if next.Time.IsZero() {
			next.Time = time.Now()
		}
		next.Time = next.Time.UTC().Round(0)
	}
	there := f.disk.intact && f.disk.digest == next.Digest
	if there && same && f.disk.notes.same(is) && !f.untouched() {
		f.log.Warn("a file that the conf file names was changed by someone else: overwriting that")
		there = false
	}
	if !there || !f.disk.notes.same(is) {
		next.Set = g.Set
		written, err := f.write(ctx, next, b, !there)
		if err != nil {
			f.disk, f.tried, f.body = disk{}, &is, nil // read again next time
			return generation.Generation{}, err
		}
		written.notes = is
		f.disk, f.sweepDue = written, f.sweepDue || b.layout != nil
	}
	if !same {
		f.archives = func() { f.keep(next, b) }
	}
	f.last, f.tried, f.orphans = next, nil, nil
	f.last.Set = g.Set
	f.body, f.sharded = &b, b.layout != nil
	next.Set = g.Set
	return is.on(next), nil
}

func digest(blocks []byte) string {
	sum := sha256.Sum256(blocks)
	return hex.EncodeToString(sum[:])
}

// look refreshes what is known of the file: someone may have removed, edited or replaced it.
func (f *File) look() error {
	if path, err := resolve(f.on, f.cfg.Path); err != nil {
		return err
	} else if path != f.path {
		return fmt.Errorf("%s leads to %s now: restart swallowkeeper to follow it", f.cfg.Path, path)
	}
	if info, err := f.folder().Lstat(filepath.Base(f.path)); err == nil && unchanged(f.disk.info, info) {
		f.disk.info = info // mode and owner may have changed
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
	f.known = nil
	if f.read && err == nil {
		if err := f.outdated(c); err != nil {
			return err
		}
		if c.Number == f.last.Number {
			f.last.Notes = max(f.last.Notes, c.Notes) // another process may have written the same notes
		}
	}
	f.disk = c.disk()
	if f.read { // another process may have used numbers that the file no longer shows
		f.newest = max(f.newest, newestKept(f.on, f.path))
	}
	switch {
	case !f.read:
		f.begin(c)
	case c.info == nil || c.empty:
		if was.info != nil {
			f.log.Warn("the file vanished: writing it again")
		}
	case err != nil || c.edited || c.lost != nil || was.info != nil && !f.has(c.Generation):
		f.disk.intact = false
		if err == nil && !c.edited { // gateways may have received it
			f.orphans = append(append(f.orphans, c.Set.Names()...), c.Leaving...)
		}
		f.log.Warn("the file was changed by someone else: overwriting that")
	case c.Number > f.last.Number:
		// An earlier Save failed after its file was in place, or another process arrived at the same blocks.
		f.take(c)
	}
	return nil
}

func unchanged(was, is fs.FileInfo) bool {
	return was != nil && sameFile(was, is) && was.Size() == is.Size() && was.ModTime().Equal(is.ModTime())
}

// write puts the generation's file in place, after the shards that it names. check tells that the blocks are new.
func (f *File) write(ctx context.Context, g generation.Generation, b body, check bool) (disk, error) {
	is := disk{digest: b.digest, intact: true, layout: b.layout}
	var err error
	if b.layout != nil {
		if is.journal, err = f.writeShards(b, g); err != nil {
			return disk{}, err
		}
	}
	is.info, err = f.replace(ctx, renderHeader(g, b.shards(), is.journal), b.text, check)
	return is, err
}

// replace replaces the conf file.
func (f *File) replace(ctx context.Context, header, blocks []byte, check bool) (fs.FileInfo, error) {
	check = check && len(f.cfg.Check) > 0
	dir, name := f.folder(), filepath.Base(f.path)
	temp, err := f.writeTemp(f.disk.info, header, blocks)
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
