package logs

import (
	"io"
	"log"
	"strings"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
)

// mostLine is how much of a library's line gets into the log.
const mostLine = 1000

// Standard is a logger for an http.Server, an http.Transport and their like: each line is a warning
// of the log, with who in front.
func Standard(to logrus.FieldLogger, who string) *log.Logger {
	return log.New(warner{to, who}, "", 0)
}

// Nowhere is a logger for servers whose trouble nobody needs to hear of.
func Nowhere() *log.Logger { return log.New(io.Discard, "", 0) }

// TakeStandard has the standard library's own logger write into the log too, for what can't be given
// one. The result gives it back.
func TakeStandard(to logrus.FieldLogger, who string) (giveBack func()) {
	before, flags := log.Writer(), log.Flags()
	log.SetOutput(warner{to, who})
	log.SetFlags(0)
	return func() {
		log.SetOutput(before)
		log.SetFlags(flags)
	}
}

type warner struct {
	to  logrus.FieldLogger
	who string
}

// Write implements [io.Writer]. What a peer sent may be in the line.
func (w warner) Write(line []byte) (int, error) {
	text := safetext.Cut(safetext.OneLine(strings.TrimSpace(string(line))), mostLine)
	w.to.Warn(w.who + ": " + text)
	return len(line), nil
}
