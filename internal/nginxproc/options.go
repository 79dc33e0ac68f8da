package nginxproc

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// options are the parts of a command line that locate nginx.conf.
type options struct{ program, prefix, conf string }

// parse parses the command line in a title. Words are joined by spaces, so a value continues until a word that looks
// like the next option.
func parse(line string) options {
	var o options
	value, ignored := &o.program, ""
	for i, word := range strings.Split(line, " ") {
		if i > 0 && len(word) > 1 && word[0] == '-' {
			value, word = option(&o, &ignored, word[1:])
			*value = word
			continue
		}
		if *value != "" {
			word = " " + word
		}
		*value += word
	}
	return o
}

// option returns where to store the value of an option, and the part of it in the same word. Flags without a value may
// precede the letter.
func option(o *options, ignored *string, letters string) (*string, string) {
	for i, letter := range letters {
		switch letter {
		case 'c':
			return &o.conf, letters[i+1:]
		case 'p':
			return &o.prefix, letters[i+1:]
		case 'e', 'g', 's':
			return ignored, letters[i+1:]
		}
	}
	return ignored, ""
}

// nginx has its help as one piece, with the defaults in it. Tengine's file has another name than nginx's, and the
// configure arguments do not show it.
const (
	prefixMark = "set prefix path (default: "
	confMark   = "set configuration file (default: "
)

var errBuilt = errors.New("the program does not say how it was built")

// longest limits the help.
const longest = 16 << 10

// builtInto searches a program for the output of nginx -h.
func builtInto(program io.Reader) (options, error) {
	window := make([]byte, 0, 4*longest)
	for {
		n, err := io.ReadFull(program, window[len(window):cap(window)])
		window = window[:len(window)+n]
		at := bytes.Index(window, []byte(prefixMark))
		switch {
		case at >= 0 && (err != nil || len(window)-at >= longest):
			return defaults(string(window[at:]))
		case err != nil:
			return options{}, errBuilt
		case at < 0:
			at = max(0, len(window)-len(prefixMark))
		}
		window = window[:copy(window, window[at:])]
	}
}

// defaults parses the defaults in the help, starting at the prefix.
func defaults(help string) (options, error) {
	_, prefix, _ := strings.Cut(help, prefixMark)
	_, conf, _ := strings.Cut(help, confMark)
	prefix, _, one := strings.Cut(prefix, ")\n")
	conf, _, two := strings.Cut(conf, ")\n")
	if !one || !two || conf == "" || prefix == "NONE" {
		return options{}, errBuilt
	}
	return options{prefix: prefix, conf: conf}, nil
}
