package persist

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"swallowkeeper/generation"
)

// ErrNotKept is wrapped by the error for a generation that is not in the history.
var ErrNotKept = errors.New("it is not in the history")

// The history is the folder .BASE.history beside the conf file. Each generation is a file named by its number: the conf
// file as it was, header included, so its digest shows whether it was changed.

// The folder may belong to another account, which could replace it with a symbolic link at any moment. So it is opened
// once, and every operation is relative to the open folder.

func historyFolder(path string) string { return beside(path, "history") }

// historyOf opens the history of the conf file at path.
func historyOf(on System, path string, create bool) (Folder, error) {
	return on.History(historyFolder(path), create)
}

// openHistory opens the folder. If it is missing, openHistory creates it, or without create returns an error that wraps
// [fs.ErrNotExist].
func openHistory(folder string, create bool) (*os.Root, error) {
	above, err := os.OpenRoot(filepath.Dir(folder))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	name, made := filepath.Base(folder), false
	if create {
		if err := above.Mkdir(name, 0o755); err == nil {
			made = true
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	there, err := above.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !there.IsDir() {
		return nil, fmt.Errorf("%s: it is no folder: move it away", folder)
	}
	history, err := above.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := history.Stat(".")
	if err == nil && !os.SameFile(there, opened) {
		err = fmt.Errorf("%s: it was swapped for another", folder)
	}
	if err == nil && made { // readers of the conf file must reach what it names, whatever the umask
		err = errors.Join(history.Chmod(".", 0o755), giveFolder(above, history))
	}
	if err != nil {
		return nil, errors.Join(err, history.Close())
	}
	return history, nil
}

// giveFolder gives a folder just made by root to the owner of its parent.
func giveFolder(above, made *os.Root) error {
	owner, err := above.Stat(".")
	if err != nil {
		return err
	}
	dir, err := made.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(giveTo(owner, dir), dir.Close())
}

// History lists the generations in the history of the conf file at path, newest first.
func History(path string) ([]int, error) {
	path, err := resolve(machine{}, path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	numbers, err := keptNumbers(machine{}, path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return numbers, nil
}

// ReadGeneration reads one generation of the history of the conf file at path. If it is not there, the error wraps
// [ErrNotKept]. A damaged generation is an error too.
func ReadGeneration(path string, number int) (generation.Generation, error) {
	r := NewReader(path)
	defer r.Close()
	return r.Read(number)
}

// Reader reads generations of a history one after the other. Shards shared with the previous generation are read once.
type Reader struct {
	path string
	err  error
	from *shardReader
}

// NewReader returns a Reader for the history of the conf file at path.
func NewReader(path string) *Reader {
	r := &Reader{}
	if r.path, r.err = resolve(machine{}, path); r.err == nil {
		r.from = newShardReader(machine{}, r.path)
		r.from.shares = true
	}
	return r
}

// Read is [ReadGeneration] on the reader's history.
func (r *Reader) Read(number int) (generation.Generation, error) {
	err := r.err
	if err == nil {
		var g generation.Generation
		if g, err = readKept(machine{}, r.path, r.from, number); err == nil {
			return g, nil
		}
	}
	return generation.Generation{}, fmt.Errorf("read generation %d: %w", number, err)
}

// Close releases the Reader's open files.
func (r *Reader) Close() {
	if r.from != nil {
		r.from.close()
	}
}

// Headers returns the generations in the history of the conf file at path, oldest first, from their headers alone:
// without their sets, and without checking digests. It skips files whose header does not have their number.
func Headers(path string) ([]generation.Generation, error) {
	path, err := resolve(machine{}, path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	all, err := headers(machine{}, path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return all, nil
}

func headers(on System, path string) ([]generation.Generation, error) {
	numbers, err := keptNumbers(on, path)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	history, err := historyOf(on, path, false)
	if err != nil {
		return nil, err
	}
	defer history.Close()
	var all []generation.Generation
	for _, n := range slices.Backward(numbers) {
		if g, err := readHeader(history, n); err == nil && g.Number == n {
			all = append(all, g)
		}
	}
	return all, nil
}

// maxHeader is more than the header of a generation in the history takes: the header there has no notes.
const maxHeader = 8 << 10

func readHeader(history Folder, number int) (generation.Generation, error) {
	f, err := openKept(history, number)
	if err != nil {
		return generation.Generation{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHeader))
	if err != nil {
		return generation.Generation{}, err
	}
	h := header{rest: text}
	_, err = h.read()
	return h.g, err
}

// openKept opens a generation. It follows no link out of the history and does not block on a pipe.
func openKept(history Folder, number int) (Handle, error) {
	return history.OpenFile(strconv.Itoa(number), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

func readKept(on System, path string, from *shardReader, number int) (generation.Generation, error) {
	none := generation.Generation{Number: number}
	history, err := historyOf(on, path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return none, ErrNotKept
	}
	if err != nil {
		return none, err
	}
	defer history.Close()
	return readKeptIn(history, historyFolder(path), from, number)
}

// readKeptIn reads a generation from an open history.
func readKeptIn(history Folder, folder string, from *shardReader, number int) (generation.Generation, error) {
	name := filepath.Join(folder, strconv.Itoa(number))
	file, err := openKept(history, number)
	c, err := readOpened(name, from, file, err)
	switch {
	case errors.Is(err, ErrForeign):
		err = fmt.Errorf("%s is not one of ours: it is never used", name)
	case err != nil:
	case c.info == nil:
		err = ErrNotKept
	case c.empty || c.edited || c.lost != nil || c.Number != number:
		err = fmt.Errorf("%s is not as it was written: its digest does not fit", name)
	default:
		return c.Generation, nil
	}
	return generation.Generation{Number: number}, err
}

// keptFiles lists the history's folder. It returns nil if there is no history.
func keptFiles(on System, path string) ([]string, error) {
	history, err := historyOf(on, path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer history.Close()
	return history.List()
}

// keptNumbers lists the generations in the history, newest first.
func keptNumbers(on System, path string) ([]int, error) {
	names, err := keptFiles(on, path)
	if err != nil {
		return nil, err
	}
	numbers := generationsAmong(names)
	slices.Reverse(numbers)
	return numbers, nil
}

// generationsAmong returns the generation numbers among file names, oldest first.
func generationsAmong(names []string) []int {
	var numbers []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 && strconv.Itoa(n) == name {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// newestKept returns the newest undamaged generation in the history, or 0.
func newestKept(on System, path string) int {
	history, err := historyOf(on, path, false)
	if err != nil {
		return 0 // keeping or listing a generation reports the error
	}
	defer history.Close()
	names, err := history.List()
	if err != nil {
		return 0
	}
	for _, n := range slices.Backward(generationsAmong(names)) {
		if undamaged(history, n) {
			return n
		}
	}
	return 0
}

// undamaged reports whether a generation is as it was written. The digest is enough: the blocks are not parsed.
func undamaged(history Folder, number int) bool {
	f, err := openKept(history, number)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSize))
	if err != nil || !bytes.HasPrefix(text, []byte(mark)) {
		return false
	}
	h := header{rest: text}
	blocks, err := h.read()
	if h.folder != "" {
		blocks = expanded(blocks, h.folder)
	}
	return err == nil && h.g.Number == number && h.g.Digest == digest(blocks)
}

// keep adds a generation to the history and removes those past retention. Pushes do not depend on it: an error is
// logged, and the change goes on. It does not sync either, because the digest shows whether the whole file arrived.
func (f *File) keep(g generation.Generation, b body) {
	if f.cfg.History == 0 {
		return
	}
	shards, text := b.shards(), b.text
	if folder := f.includes(); shards != "" {
		shards, text = shards+inFolder+folder, shortened(text, folder)
	}
	if err := f.writeKept(renderHeader(plain(g), shards, nil), text, g.Number); err != nil {
		f.log.WithError(err).Warn("the generation is not kept in the history")
		return
	}
	if err := f.prune(stamp{g.Number, g.Time}); err != nil {
		f.log.WithError(err).Warn("old generations stay in the history")
	}
}

// keepTemp is the prefix of a generation's name while it is written. A random suffix follows.
const keepTemp = ".tmp-"

func (f *File) writeKept(header, blocks []byte, number int) error {
	history, err := historyOf(f.on, f.path, true)
	if err != nil {
		return err
	}
	defer history.Close()
	folder, err := history.Stat()
	if err != nil {
		return err
	}
	temp := keepTemp + rand.Text()
	file, err := history.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(header)
	if err == nil {
		_, err = file.Write(blocks)
	}
	if err == nil {
		err = file.Chmod(0o644)
	}
	if err == nil {
		err = giveTo(folder, file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = history.Rename(temp, strconv.Itoa(number))
	}
	if err != nil {
		return errors.Join(err, history.Remove(temp))
	}
	return nil
}

// keepBaseline adds the generation found at startup to the history if it is missing, for example because an earlier
// version wrote it.
func (f *File) keepBaseline(c contents) {
	if f.cfg.History == 0 || c.Number == 0 || c.edited {
		return
	}
	if numbers, err := keptNumbers(f.on, f.path); err != nil || slices.Contains(numbers, c.Number) {
		return
	}
	b, err := f.compose(c.Set)
	if err != nil {
		return // edited by hand, perhaps
	}
	if b.digest == c.Digest {
		f.keep(c.Generation, b)
	}
}

// plain returns g without the notes, which matter only while g is the newest.
func plain(g generation.Generation) generation.Generation {
	g.Notes = 0
	return notes{}.on(g)
}

// prune removes what retention no longer keeps after the newest generation. Files with a higher number are not ours,
// and must not push ours out.
func (f *File) prune(newest stamp) error {
	if f.known == nil {
		numbers, err := keptNumbers(f.on, f.path)
		if err != nil {
			return err
		}
		all, err := headers(f.on, f.path)
		if err != nil {
			return err
		}
		for _, n := range slices.Backward(numbers) {
			s := stamp{number: n} // unreadable ones have no time
			if i := slices.IndexFunc(all, func(g generation.Generation) bool { return g.Number == n }); i >= 0 {
				s.time = all[i].Time
			}
			if n < newest.number {
				f.known = append(f.known, s)
			}
		}
	}
	f.known = append(f.known, newest)
	drop := expired(f.known, f.cfg.History, time.Now())
	if len(drop) == 0 {
		return nil
	}
	history, err := historyOf(f.on, f.path, false)
	if err != nil {
		return err
	}
	defer history.Close()
	for _, n := range drop {
		if failed := history.Remove(strconv.Itoa(n)); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	f.known = slices.DeleteFunc(f.known, func(s stamp) bool { return slices.Contains(drop, s.number) })
	f.sweepDue = true
	return err
}

// clearHistory removes temporary files left by a killed run. As with all of the history, an error is logged and does
// not stop the conf file from being opened.
func (f *File) clearHistory() {
	if err := removeKeptTemps(f.on, f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.WithError(err).Warn("temporary files of an earlier run stay in the history")
	}
}

func removeKeptTemps(on System, path string) error {
	history, err := historyOf(on, path, false)
	if err != nil {
		return err
	}
	defer history.Close()
	names, err := history.List()
	for _, name := range names {
		if strings.HasPrefix(name, keepTemp) {
			err = errors.Join(err, history.Remove(name))
		}
	}
	return err
}
