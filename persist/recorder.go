package persist

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/guard/replay"
	"swallowkeeper/persist/record"

	"github.com/sirupsen/logrus"
)

// The record of the guard's inputs is a set of files in the history's folder: record-1.jsonl and so on. Each begins
// with a complete state, so the oldest can be removed at any time. Pushes do not depend on the record: a separate
// goroutine writes it, nothing waits for it, and an error is logged once. It is not synced: a power cut may cost its
// last seconds. The conf file, which must not be lost, is another file.

const (
	recordPrefix = "record-"
	recordSuffix = ".jsonl"

	// recordParts is the minimum number of files in a full record. Old data is dropped a file at a time.
	recordParts = 8
	// recordQueue is how many decisions may wait to be written.
	recordQueue = 256
	// recordCalm is how often the record notes that the daemon is running.
	recordCalm = time.Minute
	// recordRetry is how long to pause after a write error.
	recordRetry = time.Minute
)

// Recorder writes the record. A nil Recorder does nothing.
type Recorder struct {
	path  string // of the conf file, with symbolic links resolved
	age   time.Duration
	most  int64
	sized string // most as configured
	log   logrus.FieldLogger
	queue chan replay.Moment
	done  chan struct{}
	gap   bool // decisions were dropped; used only by Note

	// The following fields are used only by run.
	encoder *record.Encoder // nil: the next decision begins a file
	file    Handle
	began   time.Time // when the file was begun
	size    int64     // of the file
	full    int64     // size at which to begin another file
	rest    time.Time // no attempts until then
	failing bool      // the last write failed, and that was logged
	large   bool      // a complete state does not fit, and that was logged

	// waiting holds the first decisions until one changes something: a restart that changes nothing leaves the folder
	// unchanged too.
	waiting []replay.Moment
}

// NewRecorder starts a recorder beside the conf file, or returns nil if none is configured. The caller must hold the
// conf file's lock.
func NewRecorder(cfg Config, log logrus.FieldLogger) *Recorder {
	path, err := resolve(machine{}, cfg.Path)
	if cfg.Record == 0 || err != nil {
		return nil // the conf file fails on this path too
	}
	most, _ := parseSize(cfg.RecordSize) // validated
	r := &Recorder{
		path: path, age: cfg.Record, most: most, sized: cfg.RecordSize, log: log.WithField("record", historyFolder(path)),
		queue: make(chan replay.Moment, recordQueue), done: make(chan struct{}),
	}
	go r.run()
	return r
}

// Note queues a decision for the record. It never blocks: if the queue is full, the decision is dropped, and the next
// one recorded begins with the guard's memory. Note must be called from one goroutine.
func (r *Recorder) Note(m replay.Moment) {
	if r == nil {
		return
	}
	m.Fresh = m.Fresh || r.gap
	select {
	case r.queue <- m:
		r.gap = false
	default:
		r.gap = true
	}
}

// Close writes what is queued and stops the recorder.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	close(r.queue)
	<-r.done
}

func (r *Recorder) run() {
	defer close(r.done)
	calm := time.NewTicker(recordCalm)
	defer calm.Stop()
	for {
		select {
		case m, open := <-r.queue:
			if !open {
				r.report(r.calm())
				r.closeFile()
				return
			}
			if r.waiting = append(r.waiting, m); r.file != nil || !idle(m) || len(r.waiting) == recordQueue {
				r.flush()
			}
		case <-calm.C:
			r.flush()
			r.report(r.calm())
		}
	}
}

// idle reports whether a decision left the written state unchanged.
func idle(m replay.Moment) bool { return m.Result.Equal(m.Accepted) }

// flush writes the waiting decisions.
func (r *Recorder) flush() {
	for _, m := range r.waiting {
		r.report(r.note(m))
	}
	r.waiting = nil
}

// report logs once that the record can't be written, and once that it can again.
func (r *Recorder) report(err error) {
	switch {
	case err != nil:
		r.closeFile()
		r.rest = time.Now().Add(recordRetry)
		if !r.failing {
			r.log.WithError(err).Warn("what the guard is told can't be recorded: all else goes on")
		}
		r.failing = true
	case r.failing && r.file != nil:
		r.failing = false
		r.log.Info("what the guard is told is recorded again")
	}
}

// closeFile closes the file. The next decision begins another one.
func (r *Recorder) closeFile() {
	if r.file != nil {
		_ = r.file.Close() // nothing depends on the record, and write errors were logged
	}
	r.file, r.encoder = nil, nil
}

func (r *Recorder) calm() error {
	if r.file == nil {
		return nil
	}
	text, err := record.Calm(time.Now())
	if err != nil {
		return err
	}
	return r.write(text)
}

// note writes a decision.
func (r *Recorder) note(m replay.Moment) error {
	now := time.Now()
	switch {
	case r.file == nil && now.Before(r.rest):
		return nil
	case r.file != nil && now.Sub(r.began) < r.age/recordParts:
		text, err := r.encoder.Encode(m, false)
		if err != nil {
			return err
		}
		if r.size+int64(len(text)) <= r.full {
			return r.write(text)
		}
	}
	r.closeFile()
	encoder := &record.Encoder{}
	text, err := encoder.Encode(m, true)
	if err != nil {
		return err
	}
	r.full = max(r.most/recordParts, 2*int64(len(text)))
	if r.full > r.most {
		r.rest = now.Add(recordRetry)
		if !r.large {
			r.log.Warnf("nothing is recorded of what the guard is told: record_size is %s, and %d bytes are needed", r.sized, r.full)
		}
		r.large = true
		return nil
	}
	if err := r.begin(now); err != nil {
		return err
	}
	r.encoder = encoder
	return r.write(text)
}

// begin begins a file and removes the oldest ones to make room.
func (r *Recorder) begin(now time.Time) error {
	history, err := historyOf(machine{}, r.path, true)
	if err != nil {
		return err
	}
	defer history.Close()
	parts, err := recordFiles(history)
	if err != nil {
		return err
	}
	number, size := 1, r.full
	for _, part := range slices.Backward(parts) {
		number = max(number, part.number+1)
		if size += part.size; size > r.most || now.Sub(part.last) > r.age {
			if err := history.Remove(part.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	folder, err := history.Stat()
	if err != nil {
		return err
	}
	name := recordPart{number: number}.name()
	file, err := history.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), giveTo(folder, file)); err != nil {
		return errors.Join(err, file.Close())
	}
	r.file, r.size, r.began = file, 0, now
	return nil
}

func (r *Recorder) write(text []byte) error {
	n, err := r.file.Write(text)
	r.size += int64(n)
	return err
}

// recordPart is one file of a record.
type recordPart struct {
	number int
	size   int64
	last   time.Time // last modification
}

func (p recordPart) name() string { return recordPrefix + strconv.Itoa(p.number) + recordSuffix }

// recordFiles lists the files of the record, oldest first.
func recordFiles(history Folder) ([]recordPart, error) {
	names, err := history.List()
	if err != nil {
		return nil, err
	}
	var parts []recordPart
	for _, name := range names {
		text := strings.TrimSuffix(strings.TrimPrefix(name, recordPrefix), recordSuffix)
		n, err := strconv.Atoi(text)
		if p := (recordPart{number: n}); err != nil || n < 1 || p.name() != name {
			continue
		}
		info, err := history.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, recordPart{number: n, size: info.Size(), last: info.ModTime()})
	}
	slices.SortFunc(parts, func(a, b recordPart) int { return cmp.Compare(a.number, b.number) })
	return parts, nil
}
