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

// The record of what the guard was told is files in the history's folder, record-1.jsonl and so on. Each begins with a
// whole state, so the oldest can go at any time. It is no part of the way to the gateways: it is written by a
// goroutine of its own that nobody waits for, and what fails is told once. Nor does it wait for the disk. A power cut
// may cost its last seconds, and the conf file, which must not be lost, is another file.

const (
	recordPrefix = "record-"
	recordSuffix = ".jsonl"

	// recordParts is in how many files the record is kept at least: what is dropped of it at once is one of them.
	recordParts = 8
	// recordQueue is how many decisions wait to be written, at most.
	recordQueue = 256
	// recordCalm is how often the record says that the daemon is at work.
	recordCalm = time.Minute
	// recordAgain is how long the record rests after it could not be written.
	recordAgain = time.Minute
)

// Recorder keeps the record. A nil Recorder keeps none.
type Recorder struct {
	path  string // of the conf file, behind its links
	age   time.Duration
	most  int64
	sized string // most, as it was configured
	log   logrus.FieldLogger
	queue chan replay.Moment
	done  chan struct{}
	gap   bool // decisions were left out; Note's own

	// What follows is run's own.
	encoder *record.Encoder // nil: the next decision begins a file
	file    Handle
	began   time.Time // when the file did
	size    int64     // of the file
	full    int64     // the size at which another one is begun
	rest    time.Time // until then nothing is tried
	failing bool      // it could not be written last, and that was told
	large   bool      // a whole state does not fit, and that was told

	// waiting are the first decisions, while nothing came of them: a restart that finds all as it was leaves the
	// folder as it was, too.
	waiting []replay.Moment
}

// NewRecorder begins to keep the record beside the conf file, or returns nil where the configuration wants none. Only
// who has the conf file's lock may have one.
func NewRecorder(cfg Config, log logrus.FieldLogger) *Recorder {
	path, err := resolve(machine{}, cfg.Path)
	if cfg.Record == 0 || err != nil {
		return nil // without its path there is no conf file either
	}
	most, _ := parseSize(cfg.RecordSize) // it is valid
	r := &Recorder{
		path: path, age: cfg.Record, most: most, sized: cfg.RecordSize, log: log.WithField("record", historyFolder(path)),
		queue: make(chan replay.Moment, recordQueue), done: make(chan struct{}),
	}
	go r.run()
	return r
}

// Note takes a decision for the record. It never waits: what does not fit into the queue is left out, and the next one
// that does begins with what the guard remembers. It is for one goroutine.
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

// Close writes what was noted and ends.
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
				r.tell(r.calm())
				r.leave()
				return
			}
			if r.waiting = append(r.waiting, m); r.file != nil || !idle(m) || len(r.waiting) == recordQueue {
				r.noteAll()
			}
		case <-calm.C:
			r.noteAll()
			r.tell(r.calm())
		}
	}
}

// idle reports whether a decision left what is written as it was.
func idle(m replay.Moment) bool { return m.Result.Equal(m.Accepted) }

// noteAll writes the decisions that wait.
func (r *Recorder) noteAll() {
	for _, m := range r.waiting {
		r.tell(r.note(m))
	}
	r.waiting = nil
}

// tell says once that the record can't be written, and once that it can again.
func (r *Recorder) tell(err error) {
	switch {
	case err != nil:
		r.leave()
		r.rest = time.Now().Add(recordAgain)
		if !r.failing {
			r.log.WithError(err).Warn("what the guard is told can't be recorded: all else goes on")
		}
		r.failing = true
	case r.failing && r.file != nil:
		r.failing = false
		r.log.Info("what the guard is told is recorded again")
	}
}

// leave closes the file; the next decision begins another one.
func (r *Recorder) leave() {
	if r.file != nil {
		_ = r.file.Close() // nothing waits for the disk, and what failed was told
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
	r.leave()
	encoder := &record.Encoder{}
	text, err := encoder.Encode(m, true)
	if err != nil {
		return err
	}
	r.full = max(r.most/recordParts, 2*int64(len(text)))
	if r.full > r.most {
		r.rest = now.Add(recordAgain)
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

// begin begins a file, and drops the oldest ones for it.
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
	last   time.Time // when it was written last
}

func (p recordPart) name() string { return recordPrefix + strconv.Itoa(p.number) + recordSuffix }

// recordFiles lists the files of the record, the oldest first.
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
		if errors.Is(err, fs.ErrNotExist) { // it was dropped meanwhile
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
