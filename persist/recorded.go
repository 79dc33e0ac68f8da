package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/persist/record"
	"swallowkeeper/upstream"
)

// Recorded is what a history's folder has to replay: its record, or if there is none, its generations.
type Recorded struct {
	// Folder is the history's folder.
	Folder string
	// Generations is the number of generations to replay; 0 if there is a record.
	Generations int

	history Folder
	parts   []recordPart
	kept    []int // generation numbers, oldest first
	notes   []string
	err     error
}

// ErrNothingRecorded is wrapped by the error for a folder that has neither a record nor generations.
var ErrNothingRecorded = errors.New("there is no record in it, and there are no generations")

// HistoryFolder returns the history's folder for the conf file at path.
func HistoryFolder(path string) (string, error) {
	path, err := resolve(machine{}, path)
	if err != nil {
		return "", fmt.Errorf("find the history: %w", err)
	}
	return historyFolder(path), nil
}

// OpenRecorded opens a history's folder, or a folder that contains exactly one history. It takes no lock, so a daemon
// may be running.
func OpenRecorded(folder string) (*Recorded, error) {
	r, err := openRecorded(folder)
	if errors.Is(err, ErrNothingRecorded) {
		if inside, _ := filepath.Glob(filepath.Join(globbed(folder), ".*.history")); len(inside) == 1 {
			r, err = openRecorded(inside[0])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the history %s: %w", folder, err)
	}
	return r, nil
}

// globbed escapes a path for [filepath.Glob].
func globbed(path string) string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
}

func openRecorded(folder string) (*Recorded, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	r := &Recorded{Folder: folder, history: opened{root}}
	if r.parts, err = recordFiles(r.history); err == nil && len(r.parts) == 0 {
		var names []string
		names, err = r.history.List()
		r.kept = generationsAmong(names)
		if r.Generations = len(r.kept); err == nil && r.Generations == 0 {
			err = ErrNothingRecorded
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return r, nil
}

// Close closes the folder.
func (r *Recorded) Close() error { return r.history.Close() }

// Moments yields everything recorded, from the start at each call. Afterwards Notes and Err have what could not be
// read.
func (r *Recorded) Moments() iter.Seq[replay.Moment] {
	r.notes, r.err = nil, nil
	if r.Generations > 0 {
		return r.accepted
	}
	return r.recorded
}

// Notes returns a line for each damaged part that was skipped.
func (r *Recorded) Notes() []string { return r.notes }

// Err returns the error that ended reading early.
func (r *Recorded) Err() error { return r.err }

func (r *Recorded) recorded(yield func(replay.Moment) bool) {
	var d record.Decoder
	for i, part := range r.parts {
		if i > 0 && part.number != r.parts[i-1].number+1 {
			d.Gap(fmt.Sprintf("%s: %d files before it are missing", part.name(), part.number-r.parts[i-1].number-1))
		}
		goOn := r.file(&d, part, yield)
		r.notes = d.Notes
		if !goOn {
			return
		}
	}
}

func (r *Recorded) file(d *record.Decoder, part recordPart, yield func(replay.Moment) bool) bool {
	file, err := r.history.OpenFile(part.name(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		d.Gap(part.name() + ": the daemon has dropped it meanwhile")
		return true
	}
	if err == nil {
		defer func() { _ = file.Close() }() // only read
		for m, wrong := range d.Moments(part.name(), file) {
			if err = wrong; err != nil {
				break
			}
			if !yield(m) {
				return false
			}
		}
	}
	r.err = err
	return err == nil
}

// accepted turns generations into moments: what was accepted stands in for what was seen.
func (r *Recorded) accepted(yield func(replay.Moment) bool) {
	var before upstream.Set
	began := true
	from := &shardReader{on: machine{}, at: strings.TrimSuffix(r.Folder, "history") + "shards", shares: true} // named as beside does
	defer from.close()
	for _, n := range r.kept {
		g, err := readKeptIn(r.history, r.Folder, from, n)
		if err != nil {
			r.notes = append(r.notes, err.Error())
			continue
		}
		if began {
			before = g.Set
		}
		m := replay.Moment{
			Input:  guard.Input{Accepted: before, Seen: g.Set, Now: g.Time},
			Limits: guard.DefaultConfig(), Result: g.Set, Began: began, Fresh: began,
		}
		if !yield(m) {
			return
		}
		before, began = g.Set, false
	}
}
