package logs

import (
	"io"
	"log"
	"strings"

	"github.com/sirupsen/logrus"

	"swallowkeeper/internal/safetext"
)

// mostLine limits the length of a library's line in the log.
const mostLine = 1000

// Standard returns a logger for http.Server, http.Transport and the like. Each line is logged as a warning with the
// prefix who.
func Standard(to logrus.FieldLogger, who string) *log.Logger {
	return log.New(warner{to, who}, "", 0)
}

// Nowhere returns a logger for servers whose errors do not matter.
func Nowhere() *log.Logger { return log.New(io.Discard, "", 0) }

// TakeStandard redirects the standard library's default logger to the log, for code that can't be given a logger.
// giveBack restores it.
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

// Write implements [io.Writer]. The line may contain data of a peer.
func (w warner) Write(line []byte) (int, error) {
	text := safetext.Cut(safetext.OneLine(strings.TrimSpace(string(line))), mostLine)
	w.to.Warn(w.who + ": " + text)
	return len(line), nil
}
