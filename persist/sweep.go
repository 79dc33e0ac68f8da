package persist

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long an unnamed shard stays: nginx may have begun to read the conf file that named it.
const grace = time.Minute

// sweep removes files in the folder of shards that have been unnamed for a while. Like the history, it delays nothing:
// an error is logged, and the next sweep tries again.
func (f *File) sweep(now time.Time) {
	if !f.read || !f.sweepDue || now.Sub(f.swept) < grace {
		return
	}
	first := f.swept.IsZero()
	f.swept = now
	if err := f.removeUnnamed(now, first); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.WithError(err).Warn("shards that nobody needs stay")
	}
}

func (f *File) removeUnnamed(now time.Time, first bool) error {
	folder, err := f.on.History(shardsFolder(f.path), false)
	if err != nil {
		f.sweepDue = !errors.Is(err, fs.ErrNotExist)
		return err
	}
	defer folder.Close()
	names, err := folder.List()
	if err != nil {
		return err
	}
	named, changed, err := f.named()
	if err != nil {
		return err
	}
	left := map[string]time.Time{}
	for _, name := range names {
		temp := strings.HasPrefix(name, keepTemp)
		if named[name] || !temp && !isContent(name, shardSuffix) && !isContent(name, notesSuffix) {
			continue
		}
		info, err := folder.Lstat(name)
		if err != nil {
			return err
		}
		since, known := f.unnamed[name]
		switch written := info.ModTime(); {
		case first && temp: // left by a killed run
		case first && now.Sub(changed) >= grace && now.Sub(written) >= grace: // unnamed since the last change of the conf file
		case known && written.Before(since) && now.Sub(since) >= grace:
		case known && written.Before(since):
			left[name] = since
			continue
		default:
			left[name] = now
			continue
		}
		if err := folder.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f.unnamed, f.sweepDue = left, len(left) > 0
	return nil
}

// named returns the shards and journals named by the conf file, its copies and the history, and when the conf file last
// changed.
func (f *File) named() (all map[string]bool, changed time.Time, err error) {
	all = map[string]bool{}
	dir, base := f.folder(), filepath.Base(f.path)
	beside, err := dir.List()
	if err != nil {
		return nil, changed, err
	}
	if info, err := dir.Lstat(base); err == nil {
		changed = info.ModTime()
	}
	for _, name := range beside {
		if name == base || name == f.name("previous") || strings.HasPrefix(name, base+asideMark) {
			if err := namesIn(dir, name, all); err != nil {
				return nil, changed, err
			}
		}
	}
	history, err := historyOf(f.on, f.path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return all, changed, nil
	}
	if err != nil {
		return nil, changed, err
	}
	defer history.Close()
	kept, err := history.List()
	if err != nil {
		return nil, changed, err
	}
	for _, n := range generationsAmong(kept) {
		if err := namesIn(history, strconv.Itoa(n), all); err != nil {
			return nil, changed, err
		}
	}
	return all, changed, nil
}

// namesIn adds the files that a conf file names. If it is not a manifest, only its beginning is read.
func namesIn(dir Folder, name string, all map[string]bool) error {
	file, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) { // also .previous, if it stands for no file
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	text := bufio.NewReaderSize(io.LimitReader(file, maxSize), maxHeader)
	if head, _ := text.Peek(maxHeader); !bytes.Contains(head, []byte("\n"+shardsKey)) {
		return nil
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxSize)
	for lines.Scan() {
		if shard, is := included(lines.Bytes()); is {
			all[shard] = true
		} else if isContent(lines.Text(), shardSuffix) {
			all[lines.Text()] = true
		} else if notes, is := bytes.CutPrefix(lines.Bytes(), []byte(notesKey)); is {
			name, _, _ := bytes.Cut(notes, []byte{' '})
			all[string(name)] = true
		}
	}
	return lines.Err()
}
