package logs

import (
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
)

// New returns a log that writes to w, in format "json" or as text, from the given level.
func New(w io.Writer, level, format string) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	Configure(log, level, format)
	return log
}

// Silent returns a log that discards everything.
func Silent() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// Configure changes the level and format of a log in use. An unknown level is ignored.
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

// safe is a formatter whose lines can't disturb a terminal. Plain JSON keeps control characters outside ASCII and marks
// that change the text direction; plain text keeps messages as they are.
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
