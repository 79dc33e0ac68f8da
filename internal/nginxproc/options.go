package nginxproc

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// options are of a command line what says where nginx.conf is.
type options struct{ program, prefix, conf string }

// parse reads the command line of a title. Its words are joined by spaces, so a value goes on until a word
// that looks like the next option.
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

// option is where the value of an option goes, and what of it stands in the same word. Flags without a
// value may stand before the letter.
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

// nginx has its help in one piece, and in it what holds where the command line says nothing. Tengine's file
// has another name than nginx's, and the arguments of configure do not say so.
const (
	prefixMark = "set prefix path (default: "
	confMark   = "set configuration file (default: "
)

var errBuilt = errors.New("the program does not say how it was built")

// longest is for the help.
const longest = 16 << 10

// builtInto looks in a program for what nginx -h would print.
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

// defaults reads them in the help, from the prefix on.
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
