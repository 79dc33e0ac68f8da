package persist

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"swallowkeeper/generation"
)

// A file of ours may be damaged, for example by a power cut or a full disk. That must not keep the daemon down: the
// damaged file is kept aside, and the newest intact generation of the history replaces it. The notes in the header
// (freezes, what is leaving, the guard's account) are lost.

// A damaged file is kept under its own name with this mark and the time appended.
const (
	asideMark = ".damaged-"
	asideTime = "20060102T150405.000Z"
)

// Damaged lists the damaged files kept beside the conf file at path, oldest first. They stay until someone moves them
// away.
func Damaged(path string) ([]string, error) {
	path, err := resolve(machine{}, path)
	if err != nil {
		return nil, fmt.Errorf("look for damaged files: %w", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for damaged files: %w", err)
	}
	var all []string // sorted by name, which is by time
	for _, e := range entries {
		at, is := strings.CutPrefix(e.Name(), filepath.Base(path)+asideMark)
		if _, err := time.Parse(asideTime, at); is && err == nil {
			all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return all, nil
}

// newestGood returns the newest intact generation of the history.
func newestGood(on System, path string) (generation.Generation, bool) {
	numbers, err := keptNumbers(on, path)
	if err != nil {
		return generation.Generation{}, false
	}
	from := newShardReader(on, path)
	defer from.close()
	for _, n := range numbers {
		if g, err := readKept(on, path, from, n); err == nil {
			return g, true
		}
	}
	return generation.Generation{}, false
}

// mend replaces a damaged file with the newest intact generation. If there is none, it returns why.
func (f *File) mend(c contents, why error) (contents, error) {
	g, ok := newestGood(f.on, f.path)
	if !ok {
		return c, why
	}
	b, err := f.compose(g.Set)
	if err != nil {
		return c, errors.Join(why, err)
	}
	g.Digest, g.Notes, g.Guard = b.digest, 1, []string{lostAccount}
	aside := f.path + asideMark + time.Now().UTC().Format(asideTime)
	dir, from, to := f.folder(), filepath.Base(f.path), filepath.Base(aside)
	if err := dir.Link(from, to); err != nil {
		if err := dir.Rename(from, to); err != nil { // the file system has no hard links
			return c, errors.Join(why, fmt.Errorf("keep the damaged file: %w", err))
		}
	}
	f.disk = disk{info: c.info} // keep mode and owner
	is, err := f.write(context.Background(), g, b, false)
	if err != nil {
		return c, errors.Join(why, fmt.Errorf("write generation %d of the history in its place: %w", g.Number, err))
	}
	f.log.WithError(why).WithField("generation", g.Number).
		Error("the file was damaged: a generation of the history takes its place, and its freezes and the guard's account are lost; the damaged file is " + aside)
	mended := contents{Generation: g, info: is.info, layout: is.layout, journal: is.journal}
	if is.layout != nil {
		mended.shards = len(is.layout.shards)
	}
	return mended, nil
}

// errBlank is the error for a file with no content. Without a history, its writer is unknown.
var errBlank = fmt.Errorf("there are only blanks or NUL bytes in it: %w; %w", ErrForeign, errDamaged)

// blank reports whether text is only blanks and NUL bytes.
func blank(text []byte) bool { return len(bytes.Trim(text, "\x00 \t\r\n")) == 0 }

// mendable adds to the error for a damaged file what the daemon will do about it.
func mendable(on System, path string, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	if g, ok := newestGood(on, path); ok {
		return fmt.Errorf("%w; the daemon and --sync-once take generation %d of the history in its place", err, g.Number)
	}
	return err
}
