package persist

import (
	"errors"
	"fmt"
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

func readKept(path string, number int) (upstream.Generation, error) {
	c, err := readFile(keptFile(path, number))
	switch {
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

// keptNumbers lists the numbers of the generations that are kept, the newest first.
func keptNumbers(path string) ([]int, error) {
	entries, err := os.ReadDir(historyFolder(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
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

// keep puts a generation into the history and takes the oldest out. It is no part of the
// way to the gateways: where it fails the log is told, and the change goes on. It does not
// wait for the disk either, for the digest tells whether all of it arrived.
func (f *File) keep(header, blocks []byte, number int) {
	if f.cfg.History == 0 {
		return
	}
	if err := f.writeKept(header, blocks, number); err != nil {
		f.log.WithError(err).Warn("the generation is not kept in the history")
	}
	if err := f.prune(); err != nil {
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

// prune leaves the newest generations, as many as are to be kept, and no half-written one.
func (f *File) prune() error {
	numbers, err := keptNumbers(f.path)
	if err != nil {
		return err
	}
	for i, n := range numbers {
		if i >= f.cfg.History {
			err = errors.Join(err, os.Remove(keptFile(f.path, n)))
		}
	}
	return err
}

// clearHistory removes what a run that was killed had begun to write there.
func clearHistory(path string) error {
	entries, err := os.ReadDir(historyFolder(path))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp-") {
			err = errors.Join(err, os.Remove(filepath.Join(historyFolder(path), e.Name())))
		}
	}
	return err
}
