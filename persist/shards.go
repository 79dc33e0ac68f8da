package persist

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/upstream"
)

// Shards are files in the folder .BASE.shards beside the conf file, each named by its content. The conf file names the
// current ones, and each generation in the history names its own. Shards are written and synced before the conf file
// that names them is put in place, so a crash leaves at most some unnamed ones.

func shardsFolder(path string) string { return beside(path, "shards") }

// shardReader reads files in a folder of shards. It opens the folder on first use. A nil shelf has no files.
type shardReader struct {
	on     System
	at     string // path of the folder
	folder Folder

	// shares makes it remember the shards of the last manifest: the next one has most of them too.
	shares bool
	last   map[string]stored
}

// stored is a shard as read.
type stored struct {
	shard shard
	list  []upstream.Upstream
}

func newShardReader(on System, path string) *shardReader {
	return &shardReader{on: on, at: shardsFolder(path)}
}

func (s *shardReader) path(name string) string {
	if s == nil {
		return name
	}
	return filepath.Join(s.at, name)
}

// read reads a file. If it is missing, the error wraps errMissing.
func (s *shardReader) read(name string) ([]byte, fs.FileInfo, error) {
	if s == nil {
		return nil, nil, fmt.Errorf("%s: %w: %w", name, errMissing, errDamaged)
	}
	if s.folder == nil {
		folder, err := s.on.History(s.at, false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("%s: %w: %w", s.at, errMissing, errDamaged)
		}
		if err != nil {
			return nil, nil, err
		}
		s.folder = folder
	}
	file, err := s.folder.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: %w: %w", s.path(name), errMissing, errDamaged)
	}
	text, info, err := readAll(file, err)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", s.path(name), err)
	}
	return text, info, nil
}

// shard reads a shard as it is. The caller compares its digest with its name.
func (s *shardReader) shard(name string) (stored, error) {
	if s != nil {
		if c, known := s.last[name]; known {
			return c, nil
		}
	}
	text, info, err := s.read(name)
	if err != nil {
		return stored{}, err
	}
	c := stored{shard: shard{digest: contentName(text), size: len(text), info: info}}
	c.list, err = nginxconf.ParseBlocks(text)
	if bad := (*nginxconf.Error)(nil); errors.As(err, &bad) {
		err = fmt.Errorf("%s: %w", s.path(name), damaged(bad.Line, bad.Reason))
	} else if err == nil && len(c.list) == 0 {
		err = fmt.Errorf("%s: there is no upstream in it: %w", s.path(name), errDamaged)
	}
	for i := range c.list {
		c.shard.names = append(c.shard.names, c.list[i].Name)
	}
	return c, err
}

func (s *shardReader) close() {
	if s.folder != nil {
		_ = s.folder.Close() // only read
		s.folder = nil
	}
}

// errMissing is wrapped by the error for a file that the conf file names but that does not exist.
var errMissing = errors.New("the conf file names it, and it is missing")

// writeShards writes and syncs what a manifest names and is not on disk yet. It returns the journal that holds the
// notes, if there is one.
func (f *File) writeShards(b body, g generation.Generation) (j *journal, err error) {
	var folder Folder
	open := func() (Folder, error) {
		if folder == nil {
			if folder, err = f.openShards(); err != nil {
				return nil, err
			}
		}
		return folder, nil
	}
	defer func() {
		if folder != nil {
			err = errors.Join(err, folder.Close())
		}
	}()
	for i := range b.layout.shards {
		s := &b.layout.shards[i]
		text := s.text
		s.text = nil
		if s.info = f.disk.has(i, s, len(b.layout.shards)); s.digest == "" || s.info != nil {
			continue
		}
		dir, err := open()
		if err != nil {
			return nil, err
		}
		if text == nil {
			if text, err = f.renderer.shard(s, g.Set); err != nil {
				return nil, err
			}
		}
		if s.info, err = f.put(dir, s.digest+shardSuffix, text); err != nil {
			return nil, err
		}
	}
	if lines := slices.Collect(linesOf(g)); sizeOf(lines) > inlineNotes {
		if j, err = f.journalFor(g, lines, open); err != nil {
			return nil, err
		}
	}
	if folder == nil {
		return j, nil
	}
	return j, folder.Sync()
}

// put writes and syncs a file in the folder of shards, atomically. It does not sync the folder.
func (f *File) put(dir Folder, name string, text []byte) (fs.FileInfo, error) {
	t, err := f.writeInto(dir, keepTemp+rand.Text(), f.disk.info, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shardsFolder(f.path), err)
	}
	if err := dir.Rename(t.name, name); err != nil {
		return nil, errors.Join(err, dir.Remove(t.name))
	}
	return t.info, nil
}

// has returns the file of a shard if it is on disk and the conf file names it, else nil. An unnamed shard may be about
// to be removed.
func (d *disk) has(i int, s *shard, count int) fs.FileInfo {
	if d.layout == nil || len(d.layout.shards) != count || d.layout.shards[i].digest != s.digest {
		return nil
	}
	return d.layout.shards[i].info
}

// openShards opens the folder, creating it if needed.
func (f *File) openShards() (Folder, error) {
	folder, err := f.on.History(shardsFolder(f.path), false)
	if !errors.Is(err, fs.ErrNotExist) {
		return folder, err
	}
	if folder, err = f.on.History(shardsFolder(f.path), true); err != nil {
		return nil, err
	}
	if err := f.folder().Sync(); err != nil {
		return nil, errors.Join(err, folder.Close())
	}
	return folder, nil
}

// untouched reports whether the files that the conf file names are as we left them. It forgets what is known of the
// others.
func (f *File) untouched() bool {
	if f.disk.layout == nil {
		return true
	}
	folder, err := f.on.History(shardsFolder(f.path), false)
	if err != nil {
		f.disk.layout, f.disk.journal = nil, nil
		return false
	}
	defer folder.Close()
	is := func(name string, was fs.FileInfo) bool {
		info, err := folder.Lstat(name)
		return err == nil && unchanged(was, info)
	}
	all := true
	for i := range f.disk.layout.shards {
		if s := &f.disk.layout.shards[i]; s.digest != "" && !is(s.digest+shardSuffix, s.info) {
			s.info, all = nil, false
		}
	}
	if j := f.disk.journal; j != nil && !is(j.name, j.info) {
		// An append does not change the part that the manifest counts.
		if _, _, info, err := readJournal(j.String(), &shardReader{on: f.on, at: shardsFolder(f.path), folder: folder}); err == nil {
			f.disk.journal = &journal{name: j.name, ref: j.String(), info: info}
		} else {
			f.disk.journal, all = nil, false
		}
	}
	return all
}
