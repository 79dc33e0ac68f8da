package logs

import (
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
)

// New is a log that writes to w: in the format "json" or as text, from the level on.
func New(w io.Writer, level, format string) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	Configure(log, level, format)
	return log
}

// Silent is a log that nobody reads.
func Silent() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// Configure changes the level and the format of a log at work. A level that there is not leaves it as it is.
func Configure(log *logrus.Logger, level, format string) {
	if format == "json" {
		log.SetFormatter(safe{&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}, safetext.JSON})
	} else {
		log.SetFormatter(safe{&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"}, screen})
	}
	if level, err := logrus.ParseLevel(level); err == nil {
		log.SetLevel(level)
	}
}

// safe is a format whose lines disturb no terminal on which they are read. Of itself JSON has control characters that
// are not ASCII's and marks that turn the direction of writing; text on a terminal has a message as it came.
type safe struct {
	logrus.Formatter
	line func(line []byte) []byte
}

// Format implements [logrus.Formatter].
func (f safe) Format(e *logrus.Entry) ([]byte, error) {
	line, err := f.Formatter.Format(e)
	if err != nil {
		return nil, err
	}
	return f.line(line), nil
}

func screen(line []byte) []byte { return []byte(safetext.Screen(string(line))) }
