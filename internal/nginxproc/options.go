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

// What nginx takes where it was built without a word about it.
const (
	defaultPrefix = "/usr/local/nginx"
	defaultConf   = "conf/nginx.conf"
)

var (
	builtMark = []byte("configure arguments:")
	errBuilt  = errors.New("the program does not say how it was built")
)

// longest is for what nginx -V prints in one line.
const longest = 64 << 10

// builtInto looks in a program for what nginx -V would print.
func builtInto(program io.Reader) (options, error) {
	window := make([]byte, 0, 4*longest)
	for {
		n, err := io.ReadFull(program, window[len(window):cap(window)])
		window = window[:len(window)+n]
		at := bytes.Index(window, builtMark)
		switch {
		case at >= 0 && (err != nil || len(window)-at >= longest):
			line := window[at+len(builtMark):]
			if end := bytes.IndexAny(line, "\n\x00"); end >= 0 {
				line = line[:end]
			}
			return arguments(string(line)), nil
		case err != nil:
			return options{}, errBuilt
		case at < 0:
			at = len(window) - len(builtMark)
		}
		window = window[:copy(window, window[at:])]
	}
}

// arguments reads those of configure. A value with spaces stands between quotes.
func arguments(line string) options {
	o := options{prefix: defaultPrefix, conf: defaultConf}
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		end := strings.IndexByte(line, ' ')
		if end < 0 {
			end = len(line)
		}
		if key, value, ok := strings.Cut(line, "='"); ok && !strings.Contains(key, " ") {
			if end := strings.IndexByte(value, '\''); end >= 0 {
				set(&o, key, value[:end])
				line = value[end+1:]
				continue
			}
		}
		if key, value, ok := strings.Cut(line[:end], "="); ok {
			set(&o, key, value)
		}
		line = line[end:]
	}
	return o
}

func set(o *options, key, value string) {
	switch key {
	case "--prefix":
		o.prefix = value
	case "--conf-path":
		o.conf = value
	}
}
