package logs

import (
	"bytes"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/sirupsen/logrus"
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
		log.SetFormatter(&plainJSON{logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano}})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	}
	if level, err := logrus.ParseLevel(level); err == nil {
		log.SetLevel(level)
	}
}

// plainJSON is JSON that disturbs no terminal on which it is read. encoding/json escapes ASCII's
// control characters alone, and leaves the others and those that turn the direction of writing.
type plainJSON struct{ logrus.JSONFormatter }

// Format implements logrus.Formatter.
func (f *plainJSON) Format(e *logrus.Entry) ([]byte, error) {
	line, err := f.JSONFormatter.Format(e)
	if err != nil || bytes.IndexFunc(line, disturbs) < 0 {
		return line, err
	}
	var out bytes.Buffer
	for _, r := range string(line) { // outside of JSON's strings there is nothing but ASCII
		if !disturbs(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.Bytes(), nil
}

// disturbs is true of what is no text; a line's own end is none of that.
func disturbs(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
