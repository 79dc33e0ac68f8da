package simulation

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"swallowkeeper/persist"
)

// The folders of the one disk that there is, and the file that all of this is about.
const (
	confFolder = "/conf.d"
	confName   = "upstreams.conf"
	confPath   = confFolder + "/" + confName

	shardFolder = confFolder + "/." + confName + ".shards"
)

// disk is a file system that loses what was not synced. What a file holds is safe when the file was synced, and what
// names lead to is safe when their folder was: until then power may fail and take some of it, the youngest first.
type disk struct {
	folders map[string]*directory
	inodes  uint64
	fails   error     // what every write says, where not nil
	failed  time.Time // when one last did
	locks   map[string]*daemon
}

type directory struct {
	live, safe map[string]*inode
	journal    []func(map[string]*inode) // what happened since the last sync
}

type inode struct {
	number   uint64
	data     []byte
	safe     []byte // what is left of data when power fails
	synced   bool   // data is safe
	mode     fs.FileMode
	modified time.Time
	links    uint64
}

func newDisk() *disk {
	d := &disk{folders: map[string]*directory{}, locks: map[string]*daemon{}}
	d.folders[confFolder] = &directory{live: map[string]*inode{}, safe: map[string]*inode{}}
	return d
}

// happen changes names now, and at the latest with the next sync for good.
func (f *directory) happen(change func(map[string]*inode)) {
	change(f.live)
	f.journal = append(f.journal, change)
}

func (f *directory) sync() {
	f.journal, f.safe = nil, maps.Clone(f.live)
}

// loseWhatIsNotSafe is what a power cut does: of what happened to names since the last sync a part is there, and of
// what was written to files without a sync there is all, nothing, a beginning, or zeros.
func (d *disk) loseWhatIsNotSafe(rng *rand.Rand) {
	d.fails = nil
	for _, path := range slices.Sorted(maps.Keys(d.folders)) {
		f := d.folders[path]
		for _, change := range f.journal[:rng.IntN(len(f.journal)+1)] {
			change(f.safe)
		}
		f.journal, f.live = nil, maps.Clone(f.safe)
		for _, name := range slices.Sorted(maps.Keys(f.live)) {
			if n := f.live[name]; !n.synced {
				n.lose(rng)
			}
		}
	}
}

func (n *inode) lose(rng *rand.Rand) {
	kept := 0 // what is appended to takes nothing of what was synced with it
	if bytes.HasPrefix(n.data, n.safe) {
		kept = len(n.safe)
	}
	switch rng.IntN(4) {
	case 0: // all of it arrived
	case 1:
		n.data = n.safe
	case 2:
		n.data = n.data[:kept+rng.IntN(len(n.data)-kept+1)]
	case 3:
		n.data = append(bytes.Clone(n.data[:kept]), make([]byte, len(n.data)-kept)...)
	}
	n.data, n.safe, n.synced = bytes.Clone(n.data), bytes.Clone(n.data), true
}

// visible is what a reader of the conf file finds; nil: there is none.
func (d *disk) visible() []byte { return content(d.folders[confFolder].live, false) }

// safe is what there would be of it after a power cut at the worst.
func (d *disk) safe() []byte { return content(d.folders[confFolder].safe, true) }

// shard is a shard as a reader finds it, and safeShard what there would be of it after a power cut; nil: there is none.
func (d *disk) shard(name string) []byte     { return d.shardOf(name, false) }
func (d *disk) safeShard(name string) []byte { return d.shardOf(name, true) }

func (d *disk) shardOf(name string, safe bool) []byte {
	f := d.folders[shardFolder]
	switch {
	case f == nil:
		return nil
	case safe:
		return contentOf(f.safe[name], true)
	}
	return contentOf(f.live[name], false)
}

func content(names map[string]*inode, safe bool) []byte { return contentOf(names[confName], safe) }

func contentOf(n *inode, safe bool) []byte {
	switch {
	case n == nil:
		return nil
	case safe:
		return n.safe
	}
	return n.data
}

// view is the disk as one daemon sees it: each call that changes something waits its turn. Who only reads changes
// nothing, and nothing changes meanwhile.
type view struct {
	w *world
	d *daemon
}

func (v view) Readlink(path string) (string, error) {
	return "", &fs.PathError{Op: "readlink", Path: path, Err: syscall.EINVAL} // it is no link
}

func (v view) Folder(path string) persist.Folder { return viewOf{v, path} }

func (v view) History(path string, create bool) (persist.Folder, error) {
	switch {
	case v.w.isDead(v.d):
		return nil, errKilled
	case v.w.disk.folders[path] != nil:
		return viewOf{v, path}, nil
	case !create:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	err := v.turn("make history", func() error {
		if err := v.w.disk.fails; err != nil {
			return &fs.PathError{Op: "mkdir", Path: path, Err: err}
		}
		v.w.disk.folders[path] = &directory{live: map[string]*inode{}, safe: map[string]*inode{}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return viewOf{v, path}, nil
}

func (v view) Lock(path string) (func() error, error) {
	key := v.d.host + path
	err := v.turn("lock", func() error {
		if v.w.disk.locks[key] != nil {
			return &persist.LockedError{Lock: path}
		}
		v.w.disk.locks[key] = v.d
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func() error { return v.turn("unlock", func() error { delete(v.w.disk.locks, key); return nil }) }, nil
}

func (v view) turn(what string, do func() error) error {
	return v.w.turn(turn{daemon: v.d, actor: v.d.name, loop: true, what: what, do: do})
}

// viewOf is one folder as a daemon sees it.
type viewOf struct {
	view
	path string
}

func (f viewOf) dir() *directory { return f.w.disk.folders[f.path] }

// shown is a name as the trace has it: those of temporary files are drawn anew each time.
func shown(name string) string {
	if i := strings.Index(name, "tmp-"); i >= 0 {
		return name[:i] + "tmp"
	}
	return name
}

func (f viewOf) Stat() (info fs.FileInfo, err error) {
	return &inode{mode: fs.ModeDir | 0o755}, nil
}

func (f viewOf) find(op, name string) (*inode, error) {
	n := f.dir().live[name]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: shown(name), Err: fs.ErrNotExist}
	}
	return n, nil
}

func (f viewOf) Lstat(name string) (info fs.FileInfo, err error) {
	if f.w.isDead(f.d) {
		return nil, errKilled
	}
	n, err := f.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return n.info(), nil
}

func (f viewOf) OpenFile(name string, flag int, _ fs.FileMode) (h persist.Handle, err error) {
	if flag&os.O_CREATE == 0 {
		n, err := f.find("open", name)
		if err != nil || f.w.isDead(f.d) {
			return nil, cmp.Or(err, errKilled)
		}
		return &file{f: f, name: name, n: n, rest: n.data}, nil
	}
	err = f.turn("create "+shown(name), func() error {
		if err := f.w.disk.fails; err != nil && f.w.rng.IntN(2) == 0 { // there may be room for a name
			return &fs.PathError{Op: "create", Path: shown(name), Err: err}
		}
		f.w.disk.inodes++
		n := &inode{number: f.w.disk.inodes, mode: 0o600, modified: time.Now(), links: 1}
		f.dir().happen(func(names map[string]*inode) { names[name] = n })
		h = &file{f: f, name: name, n: n}
		return nil
	})
	return h, err
}

func (f viewOf) Rename(from, to string) error {
	return f.turn("rename "+shown(from)+" "+shown(to), func() error {
		if _, err := f.find("rename", from); err != nil {
			return err
		}
		f.dir().happen(func(names map[string]*inode) {
			names[to] = names[from]
			delete(names, from)
		})
		if to == confName {
			f.w.oracle.replaced(f.d)
			f.w.trace.with(string(f.w.disk.visible()))
		}
		return nil
	})
}

func (f viewOf) Remove(name string) error {
	return f.turn("remove "+shown(name), func() error {
		if _, err := f.find("remove", name); err != nil {
			return err
		}
		f.dir().happen(func(names map[string]*inode) { delete(names, name) })
		return nil
	})
}

func (f viewOf) Link(name, as string) error {
	return f.turn("link "+shown(name), func() error {
		if _, err := f.find("link", name); err != nil {
			return err
		}
		f.dir().happen(func(names map[string]*inode) { names[as] = names[name] })
		return nil
	})
}

func (f viewOf) Symlink(string, string) error { return fs.ErrInvalid } // only a check needs it

func (f viewOf) List() (names []string, err error) {
	if f.w.isDead(f.d) {
		return nil, errKilled
	}
	return slices.Sorted(maps.Keys(f.dir().live)), nil
}

func (f viewOf) Sync() error {
	return f.turn("sync folder", func() error {
		if err := f.w.disk.fails; err != nil && f.w.rng.IntN(2) == 0 {
			return err
		}
		f.dir().sync()
		return nil
	})
}

func (f viewOf) Close() error { return nil }

// file is an open one.
type file struct {
	f    viewOf
	name string
	n    *inode
	rest []byte // to be read
}

func (h *file) Read(p []byte) (int, error) {
	if len(h.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

func (h *file) Write(p []byte) (int, error) {
	written := 0
	err := h.f.w.turn(turn{
		daemon: h.f.d, actor: h.f.d.name, loop: true, what: "write " + shown(h.name),
		half: func() { h.put(p[:len(p)/2]) },
		do: func() error {
			if err := h.f.w.disk.fails; err != nil {
				written = len(p) / 2
				h.put(p[:written])
				return &fs.PathError{Op: "write", Path: shown(h.name), Err: err}
			}
			written = len(p)
			h.put(p)
			return nil
		},
	})
	return written, err
}

func (h *file) put(p []byte) {
	h.n.data = append(h.n.data[:len(h.n.data):len(h.n.data)], p...)
	h.n.synced, h.n.modified = false, time.Now()
}

func (h *file) Sync() error {
	return h.f.turn("sync "+shown(h.name), func() error {
		if err := h.f.w.disk.fails; err != nil && h.f.w.rng.IntN(2) == 0 {
			return &fs.PathError{Op: "sync", Path: shown(h.name), Err: err}
		}
		h.n.safe, h.n.synced = h.n.data, true
		return nil
	})
}

func (h *file) Close() error               { return nil }
func (h *file) Stat() (fs.FileInfo, error) { return h.n.info(), nil }
func (h *file) Chown(int, int) error       { return nil }

func (h *file) Chmod(mode fs.FileMode) error {
	h.n.mode = mode
	return nil
}

// info is a copy: what is known of a file does not change when the file does.
func (n *inode) info() fs.FileInfo {
	is := *n
	return &is
}

func (n *inode) Name() string       { return fmt.Sprint(n.number) }
func (n *inode) Size() int64        { return int64(len(n.data)) }
func (n *inode) Mode() fs.FileMode  { return n.mode }
func (n *inode) ModTime() time.Time { return n.modified }
func (n *inode) IsDir() bool        { return n.mode.IsDir() }
func (n *inode) Sys() any           { return &syscall.Stat_t{Ino: n.number, Nlink: 1} }
