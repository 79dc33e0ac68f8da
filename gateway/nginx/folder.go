package nginx

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// link is included by nginx: a symbolic link to the folder of a generation.
const link = "current"

const (
	prefix    = "generation-"
	temporary = ".current-"
	folderMod = 0o755
	fileMod   = 0o644
	keep      = 3 // generations
	most      = 64 << 20
	writers   = 16
)

// folder is the folder of the generations. No path within it can escape through links.
type folder struct {
	path string
	root *os.Root
}

// generation is a generation in the folder.
type generation struct {
	n int // 0: none yet
	rendered
	// whole reports that its files are as written.
	whole bool
}

// openFolder opens the folder. If it is missing, it is created, or the error wraps [fs.ErrNotExist].
func openFolder(path string, create bool) (*folder, error) {
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := os.MkdirAll(path, folderMod); err != nil {
			return nil, err
		}
		root, err = os.OpenRoot(path)
	}
	if err != nil {
		return nil, err
	}
	return &folder{path: path, root: root}, nil
}

func (f *folder) close() { _ = f.root.Close() }

// number parses the name of a generation; 0 for other names.
func number(name string) int {
	text, is := strings.CutPrefix(name, prefix)
	n, err := strconv.Atoi(text)
	if !is || err != nil || n < 1 || nameOf(n) != name {
		return 0
	}
	return n
}

func nameOf(n int) string { return prefix + strconv.Itoa(n) }

// current returns the generation that the link points to; 0 without a link. It is an error if the link is not ours.
func (f *folder) current() (int, error) {
	info, err := f.root.Lstat(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	case info.Mode().Type() != fs.ModeSymlink:
		return 0, notOurs.Err(filepath.Join(f.path, link))
	}
	to, err := f.root.Readlink(link)
	if err != nil {
		return 0, err
	}
	n := number(to)
	if n == 0 {
		return 0, notOurs.Err(filepath.Join(f.path, link))
	}
	if info, err := f.root.Lstat(to); err == nil && (!info.IsDir() || f.digest(n) == "") {
		return 0, notOurs.Err(filepath.Join(f.path, to))
	}
	return n, nil
}

// digest returns the digest in the answerFile of a generation, or "" if the generation is not ours.
func (f *folder) digest(n int) string {
	text, err := f.root.ReadFile(path.Join(nameOf(n), answerFile))
	if err != nil {
		return ""
	}
	return digestIn(text)
}

// numbers returns the numbers of all folders named like a generation, newest first, whoever made them.
func (f *folder) numbers() ([]int, error) {
	names, err := listed(f.root, ".")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, name := range names {
		if n := number(name); n > 0 {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all, nil
}

// find returns the newest generation with that digest, or 0.
func (f *folder) find(digest string) (int, error) {
	all, err := f.numbers()
	for _, n := range all {
		if f.digest(n) == digest {
			return n, nil
		}
	}
	return 0, err
}

// read reads a generation; 0 and a missing one are empty.
func (f *folder) read(n int) (generation, error) {
	if n == 0 {
		return generation{whole: true}, nil
	}
	g := generation{n: n}
	g.digest = f.digest(n)
	if err := f.walk(nameOf(n), "", &g.files); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return generation{}, err
	}
	slices.SortFunc(g.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	g.set, g.whole = parse(g.files, g.digest)
	return g, nil
}

// walk reads the files of a generation, including the folders of hosts, except its answerFile.
func (f *folder) walk(dir, within string, files *[]file) error {
	names, err := listed(f.root, path.Join(dir, within))
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(within, name)
		if at == answerFile {
			continue
		}
		info, err := f.root.Lstat(path.Join(dir, at))
		switch {
		case err != nil:
			return err
		case info.IsDir() && within == "":
			if err := f.walk(dir, name, files); err != nil {
				return err
			}
			continue
		case !info.Mode().IsRegular() || info.Size() > most:
			*files = append(*files, file{path: at}) // we did not write it
			continue
		}
		text, err := f.root.ReadFile(path.Join(dir, at))
		if err != nil {
			return err
		}
		*files = append(*files, file{path: at, text: text})
	}
	return nil
}

// write writes files as a new generation, synced to the disk. It hard-links files that the generation before has.
func (f *folder) write(r rendered, before generation) (generation, error) {
	all, err := f.numbers()
	if err != nil {
		return generation{}, err
	}
	g := generation{n: 1, rendered: r, whole: true}
	if len(all) > 0 {
		g.n = all[0] + 1
	}
	name := nameOf(g.n)
	if err := f.fill(name, g, before); err != nil {
		return generation{}, errors.Join(fmt.Errorf("write %s: %w", filepath.Join(f.path, name), err), f.root.RemoveAll(name))
	}
	return g, nil
}

func (f *folder) fill(name string, g, before generation) error {
	if err := f.mkdir(name); err != nil {
		return err
	}
	// Written first: it identifies the folder as ours even if we are killed before filling it.
	if err := f.put(path.Join(name, answerFile), answer(g.n, g.digest)); err != nil {
		return err
	}
	old := make(map[string][]byte, len(before.files))
	for _, had := range before.files {
		old[had.path] = had.text
	}
	link := f.linker(nameOf(before.n), name)
	defer link.close()
	folders := []string{name}
	var fresh []file
	for _, one := range g.files {
		if dir := path.Join(name, path.Dir(one.path)); !slices.Contains(folders, dir) {
			folders = append(folders, dir)
			if err := f.mkdir(dir); err != nil {
				return err
			}
		}
		if had, is := old[one.path]; !is || string(had) != string(one.text) ||
			link.link(one.path) != nil {
			fresh = append(fresh, one)
		}
	}
	if err := f.putAll(name, fresh); err != nil {
		return err
	}
	for _, dir := range append(folders, ".") {
		if err := f.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// linker links files of one generation into another. Most are valid, and there are many, so each is one system call.
type linker struct {
	f        *folder
	from, to string
	old, new *os.File
}

func (f *folder) linker(from, to string) *linker {
	l := &linker{f: f, from: from, to: to}
	l.old, _ = f.root.Open(from)
	l.new, _ = f.root.Open(to)
	return l
}

func (l *linker) link(name string) error {
	if l.old != nil && l.new != nil && !strings.Contains(name, "/") {
		return unix.Linkat(int(l.old.Fd()), name, int(l.new.Fd()), name, 0)
	}
	return l.f.root.Link(path.Join(l.from, name), path.Join(l.to, name))
}

func (l *linker) close() {
	for _, dir := range []*os.File{l.old, l.new} {
		if dir != nil {
			_ = dir.Close()
		}
	}
}

// putAll writes files concurrently, as each waits for the disk.
func (f *folder) putAll(name string, files []file) error {
	var writing sync.WaitGroup
	errs := make([]error, min(writers, len(files)))
	for i := range errs {
		writing.Go(func() {
			for j := i; j < len(files) && errs[i] == nil; j += len(errs) {
				errs[i] = f.put(path.Join(name, files[j].path), files[j].text)
			}
		})
	}
	writing.Wait()
	return errors.Join(errs...)
}

func (f *folder) mkdir(name string) error {
	if err := f.root.Mkdir(name, folderMod); err != nil {
		return err
	}
	return f.root.Chmod(name, folderMod) // whatever the umask is
}

func (f *folder) put(name string, text []byte) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMod)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Chmod(fileMod)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// point makes the link point to a generation by one rename; 0 removes it. It only replaces a link of ours.
func (f *folder) point(n int) error {
	if _, err := f.current(); err != nil {
		return err
	}
	if n == 0 {
		if err := f.root.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return f.sync(".")
	}
	name := temporary + rand.Text()
	if err := f.root.Symlink(nameOf(n), name); err != nil {
		return err
	}
	if err := f.root.Rename(name, link); err != nil {
		return errors.Join(err, f.root.Remove(name))
	}
	return f.sync(".")
}

// sweep removes all of our generations except the newest and the needed ones, and temporary links left by a killed
// process.
func (f *folder) sweep(needed ...int) error {
	all, err := f.numbers()
	if err != nil {
		return err
	}
	kept := 0
	for _, n := range all {
		if f.digest(n) == "" {
			continue // somebody else's
		}
		if kept++; kept > keep && !slices.Contains(needed, n) {
			err = errors.Join(err, f.root.RemoveAll(nameOf(n)))
		}
	}
	names, listing := listed(f.root, ".")
	for _, name := range names {
		if to, e := f.root.Readlink(name); e == nil && strings.HasPrefix(name, temporary) && number(to) > 0 {
			err = errors.Join(err, f.root.Remove(name))
		}
	}
	return errors.Join(err, listing)
}

func listed(root *os.Root, name string) ([]string, error) {
	dir, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// sync syncs a folder after changes in it. Some file systems do not support that.
func (f *folder) sync(name string) error {
	dir, err := f.root.Open(name)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
