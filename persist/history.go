package persist

import (
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

	"golang.org/x/sys/unix"

	"swallowkeeper/upstream"
)

// ErrNotKept is the cause of the error for a generation that the history does not have.
var ErrNotKept = errors.New("it is not in the history")

// The history is a folder beside the conf file, .BASE.history. Each generation is a file
// there that is called by its number and is the conf file as it was, header included, so
// its digest tells whether somebody changed it.

// It may belong to another account than ours, which could put a link in its place at any moment. So it is
// opened once, and all that is done in it is done by names below what was opened.

func historyFolder(path string) string { return beside(path, "history") }

// historyOf opens the history of the conf file at path.
func historyOf(on System, path string, create bool) (Folder, error) {
	return on.History(historyFolder(path), create)
}

// openHistory opens the folder. Where it is missing it is created, or the error wraps [fs.ErrNotExist].
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
	if err == nil && made {
		err = giveFolder(above, history)
	}
	if err != nil {
		return nil, errors.Join(err, history.Close())
	}
	return history, nil
}

// giveFolder gives a folder that root has just made to the owner of the one above.
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

// History lists the numbers of the generations that are kept beside the conf file at path,
// the newest first.
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

// ReadGeneration reads one generation of the history of the conf file at path. Where it
// is not kept the error wraps [ErrNotKept]; a damaged one is an error too.
func ReadGeneration(path string, number int) (upstream.Generation, error) {
	path, err := resolve(machine{}, path)
	if err == nil {
		var g upstream.Generation
		if g, err = readKept(machine{}, path, number); err == nil {
			return g, nil
		}
	}
	return upstream.Generation{}, fmt.Errorf("read generation %d: %w", number, err)
}

// Headers are the generations that are kept beside the conf file at path, the oldest first, as their
// headers have them: without their sets, and nobody has looked whether their digests fit. What has no
// header of its number is not among them.
func Headers(path string) ([]upstream.Generation, error) {
	numbers, err := History(path)
	if err != nil {
		return nil, err
	}
	if path, err = resolve(machine{}, path); err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	if len(numbers) == 0 {
		return nil, nil
	}
	history, err := historyOf(machine{}, path, false)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer history.Close()
	var all []upstream.Generation
	for _, n := range slices.Backward(numbers) {
		if g, err := readHeader(history, n); err == nil && g.Number == n {
			all = append(all, g)
		}
	}
	return all, nil
}

// mostHeader is more than the header of a generation in the history has: notes of what is under way are
// not in it.
const mostHeader = 8 << 10

func readHeader(history Folder, number int) (upstream.Generation, error) {
	f, err := openKept(history, number)
	if err != nil {
		return upstream.Generation{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostHeader))
	if err != nil {
		return upstream.Generation{}, err
	}
	h := header{rest: text}
	_, err = h.read()
	return h.g, err
}

// openKept opens a generation. It follows no link out of the history and waits for no pipe.
func openKept(history Folder, number int) (Handle, error) {
	return history.OpenFile(strconv.Itoa(number), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

func readKept(on System, path string, number int) (upstream.Generation, error) {
	none := upstream.Generation{Number: number}
	history, err := historyOf(on, path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return none, ErrNotKept
	}
	if err != nil {
		return none, err
	}
	defer history.Close()
	return readKeptIn(history, historyFolder(path), number)
}

// readKeptIn reads a generation of a history that is open.
func readKeptIn(history Folder, folder string, number int) (upstream.Generation, error) {
	name := filepath.Join(folder, strconv.Itoa(number))
	file, err := openKept(history, number)
	c, err := readOpened(name, file, err)
	switch {
	case errors.Is(err, ErrForeign):
		err = fmt.Errorf("%s is not one of ours: it is never used", name)
	case err != nil:
	case c.info == nil:
		err = ErrNotKept
	case c.empty || c.edited || c.Number != number:
		err = fmt.Errorf("%s is not as it was written: its digest does not fit", name)
	default:
		return c.Generation, nil
	}
	return upstream.Generation{Number: number}, err
}

// keptFiles lists what is in the history's folder, nothing where there is none.
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

// keptNumbers lists the numbers of the generations that are kept, the newest first.
func keptNumbers(on System, path string) ([]int, error) {
	names, err := keptFiles(on, path)
	if err != nil {
		return nil, err
	}
	numbers := generationsAmong(names)
	slices.Reverse(numbers)
	return numbers, nil
}

// generationsAmong finds the numbers of generations among names of files, the oldest first.
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

// newestKept is the number of the newest generation that is kept undamaged, 0 where there is none.
func newestKept(on System, path string) int {
	numbers, err := keptNumbers(on, path)
	if err != nil {
		return 0 // who keeps or lists a generation is told
	}
	for _, n := range numbers {
		if _, err := readKept(on, path, n); err == nil {
			return n
		}
	}
	return 0
}

// keep puts a generation into the history and takes the oldest out. It is no part of the
// way to the gateways: where it fails the log is told, and the change goes on. It does not
// wait for the disk either, for the digest tells whether all of it arrived.
func (f *File) keep(header, blocks []byte, number int) {
	if f.cfg.History == 0 {
		return
	}
	if err := f.writeKept(header, blocks, number); err != nil {
		f.log.WithError(err).Warn("the generation is not kept in the history")
		return
	}
	if err := f.prune(number); err != nil {
		f.log.WithError(err).Warn("old generations stay in the history")
	}
}

// keepTemp is what a generation is called while it is written, with something behind it that nobody guesses.
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

// keepBaseline puts the generation that was found at the start into the history, where it
// is not there: an earlier version may have written it.
func (f *File) keepBaseline(c contents) {
	if f.cfg.History == 0 || c.Number == 0 || c.edited {
		return
	}
	if numbers, err := keptNumbers(f.on, f.path); err != nil || slices.Contains(numbers, c.Number) {
		return
	}
	blocks, err := f.renderer.render(c.Set)
	if err != nil {
		return // a hand may have written it otherwise than we would
	}
	if g := c.Generation; digest(blocks) == g.Digest {
		f.keep(renderHeader(plain(g)), blocks, g.Number)
	}
}

// plain is a generation without what only counts while it is the newest.
func plain(g upstream.Generation) upstream.Generation {
	g.Leaving, g.Pushing, g.Strangers, g.Frozen, g.Guard = nil, nil, nil, nil, nil
	return g
}

// prune leaves the newest generations up to this one, as many as are to be kept. What has a higher
// number is none of ours, and must not push ours out.
func (f *File) prune(number int) error {
	numbers, err := keptNumbers(f.on, f.path)
	if err != nil {
		return err
	}
	history, err := historyOf(f.on, f.path, false)
	if err != nil {
		return err
	}
	defer history.Close()
	numbers = slices.DeleteFunc(numbers, func(n int) bool { return n > number })
	for i, n := range numbers {
		if i >= f.cfg.History {
			err = errors.Join(err, history.Remove(strconv.Itoa(n)))
		}
	}
	return err
}

// clearHistory removes what a run that was killed had begun to write there. As with all of the
// history, what fails is told and keeps nobody from the conf file.
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
