package main

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf16"

	"github.com/sirupsen/logrus"
)

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
