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

	"swallowkeeper/upstream"
)

// A file of ours that can't be read, after a power cut or a full disk of others say, is no reason to stay
// away: the history has what it was. The damaged one is kept aside, and the newest generation whose digest
// fits takes its place. The notes of the header (freezes, what is leaving) are lost with it.

// A damaged file is kept aside under its name with this, and the time, behind it.
const (
	asideMark = ".damaged-"
	asideTime = "20060102T150405.000Z"
)

// Damaged lists the damaged files that were kept aside of the conf file at path, the oldest first. They stay
// until a person moves them away.
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
	var all []string // in order of names, which is that of times
	for _, e := range entries {
		at, is := strings.CutPrefix(e.Name(), filepath.Base(path)+asideMark)
		if _, err := time.Parse(asideTime, at); is && err == nil {
			all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return all, nil
}

// newestGood is the newest generation of the history that is as it was written.
func newestGood(on System, path string) (upstream.Generation, bool) {
	numbers, err := keptNumbers(on, path)
	if err != nil {
		return upstream.Generation{}, false
	}
	for _, n := range numbers {
		if g, err := readKept(on, path, n); err == nil {
			return g, true
		}
	}
	return upstream.Generation{}, false
}

// mend takes the newest good generation in the place of a damaged file. Where there is none it returns why
// the file is damaged.
func (f *File) mend(c contents, why error) (contents, error) {
	g, ok := newestGood(f.on, f.path)
	if !ok {
		return c, why
	}
	blocks, err := f.renderer.render(g.Set)
	if err != nil {
		return c, errors.Join(why, err)
	}
	g.Digest = digest(blocks)
	aside := f.path + asideMark + time.Now().UTC().Format(asideTime)
	dir, from, to := f.folder(), filepath.Base(f.path), filepath.Base(aside)
	if err := dir.Link(from, to); err != nil {
		if err := dir.Rename(from, to); err != nil { // where there are no hard links
			return c, errors.Join(why, fmt.Errorf("keep the damaged file: %w", err))
		}
	}
	f.disk = disk{info: c.info} // mode and owner stay
	info, err := f.write(context.Background(), g, blocks, false)
	if err != nil {
		return c, errors.Join(why, fmt.Errorf("write generation %d of the history in its place: %w", g.Number, err))
	}
	f.log.WithError(why).WithField("generation", g.Number).
		Error("the file was damaged: a generation of the history takes its place, and its freezes are lost; the damaged file is " + aside)
	return contents{Generation: g, info: info}, nil
}

// errBlank is the cause for a file that has nothing in it. Without a history nobody knows whose it was.
var errBlank = fmt.Errorf("there are only blanks or NUL bytes in it: %w; %w", ErrForeign, errDamaged)

// blank reports whether a file has nothing but blanks and NUL bytes.
func blank(text []byte) bool { return len(bytes.Trim(text, "\x00 \t\r\n")) == 0 }

// mendable adds to the error of a damaged file what will be done about it.
func mendable(on System, path string, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	if g, ok := newestGood(on, path); ok {
		return fmt.Errorf("%w; the daemon and --sync-once take generation %d of the history in its place", err, g.Number)
	}
	return err
}
