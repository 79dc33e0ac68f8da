package persist

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/upstream"
)

// ErrNotKept is the cause of the error for a generation that the history does not have.
var ErrNotKept = errors.New("it is not in the history")

// The history is a folder beside the conf file, .BASE.history. Each generation is a file
// there that is called by its number and is the conf file as it was, header included, so
// its digest tells whether somebody changed it.

func historyFolder(path string) string { return beside(path, "history") }

func keptFile(path string, number int) string {
	return filepath.Join(historyFolder(path), strconv.Itoa(number))
}

// History lists the numbers of the generations that are kept beside the conf file at path,
// the newest first.
func History(path string) ([]int, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	numbers, err := keptNumbers(path)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	return numbers, nil
}

// ReadGeneration reads one generation of the history of the conf file at path. Where it
// is not kept the error wraps [ErrNotKept]; a damaged one is an error too.
func ReadGeneration(path string, number int) (upstream.Generation, error) {
	path, err := resolve(path)
	if err == nil {
		var g upstream.Generation
		if g, err = readKept(path, number); err == nil {
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
	if path, err = resolve(path); err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	var all []upstream.Generation
	for _, n := range slices.Backward(numbers) {
		if g, err := readHeader(keptFile(path, n)); err == nil && g.Number == n {
			all = append(all, g)
		}
	}
	return all, nil
}

// mostHeader is more than the header of a generation in the history has: notes of what is under way are
// not in it.
const mostHeader = 8 << 10

func readHeader(file string) (upstream.Generation, error) {
	f, err := os.Open(file)
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

func readKept(path string, number int) (upstream.Generation, error) {
	c, err := readFile(keptFile(path, number))
	switch {
	case errors.Is(err, ErrForeign):
		err = fmt.Errorf("%s is not one of ours: it is never used", keptFile(path, number))
	case err != nil:
	case c.info == nil:
		err = ErrNotKept
	case c.empty || c.edited || c.Number != number:
		err = fmt.Errorf("%s is not as it was written: its digest does not fit", keptFile(path, number))
	default:
		return c.Generation, nil
	}
	return upstream.Generation{Number: number}, err
}

// keptFiles lists what is in the history's folder, nothing where there is none. It follows no
// symbolic link: what is removed there goes by its name alone.
func keptFiles(path string) ([]fs.DirEntry, error) {
	folder := historyFolder(path)
	info, err := os.Lstat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s: it is no folder: move it away", folder)
	}
	return os.ReadDir(folder)
}

// keptNumbers lists the numbers of the generations that are kept, the newest first.
func keptNumbers(path string) ([]int, error) {
	entries, err := keptFiles(path)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && strconv.Itoa(n) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

// newestKept is the number of the newest generation that is kept undamaged, 0 where there is none.
func newestKept(path string) int {
	numbers, err := keptNumbers(path)
	if err != nil {
		return 0 // who keeps or lists a generation is told
	}
	for _, n := range numbers {
		if _, err := readKept(path, n); err == nil {
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

func (f *File) writeKept(header, blocks []byte, number int) error {
	folder := historyFolder(f.path)
	if err := os.Mkdir(folder, 0o755); err == nil {
		if dir, err := os.Open(folder); err == nil {
			err = errors.Join(giveToFolder(dir), dir.Close())
			if err != nil {
				return err
			}
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	} else if _, err := keptFiles(f.path); err != nil {
		return err
	}
	file, err := os.CreateTemp(folder, ".tmp-*")
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
		err = giveToFolder(file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), keptFile(f.path, number))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// keepBaseline puts the generation that was found at the start into the history, where it
// is not there: an earlier version may have written it.
func (f *File) keepBaseline(c contents) {
	if f.cfg.History == 0 || c.Number == 0 || c.edited {
		return
	}
	if _, err := os.Lstat(keptFile(f.path, c.Number)); !errors.Is(err, fs.ErrNotExist) {
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
	g.Leaving, g.Pushing, g.Frozen, g.Base = nil, nil, nil, 0
	return g
}

// prune leaves the newest generations up to this one, as many as are to be kept. What has a higher
// number is none of ours, and must not push ours out.
func (f *File) prune(number int) error {
	numbers, err := keptNumbers(f.path)
	if err != nil {
		return err
	}
	numbers = slices.DeleteFunc(numbers, func(n int) bool { return n > number })
	for i, n := range numbers {
		if i >= f.cfg.History {
			err = errors.Join(err, os.Remove(keptFile(f.path, n)))
		}
	}
	return err
}

// clearHistory removes what a run that was killed had begun to write there. As with all of the
// history, what fails is told and keeps nobody from the conf file.
func (f *File) clearHistory() {
	entries, err := keptFiles(f.path)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp-") {
			err = errors.Join(err, os.Remove(filepath.Join(historyFolder(f.path), e.Name())))
		}
	}
	if err != nil {
		f.log.WithError(err).Warn("temporary files of an earlier run stay in the history")
	}
}
