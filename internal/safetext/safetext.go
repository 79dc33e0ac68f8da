// Package safetext makes text that others wrote harmless where it is shown: names from a registry, answers of a
// gateway, the output of a check. There is one function for each destination:
//
//	Line     one line of a terminal: nothing is lost, what can't be printed is escaped
//	Screen   several lines of a terminal, in our colours
//	JSON     a line of JSON that is read on a terminal
//	OneLine  a comment of the conf file, a line of the log: what can't be printed becomes a space
//	Words    the same for a page that becomes a sentence: runs of spaces become one
//	Output   what a program printed, in its lines
//	Quote    foreign text within an error
//	Name     a name within an error: only an odd one is quoted
//	Cut      a bound for any text
//	Runes    a bound for a protocol that takes UTF-8 alone
//
// Printable is what [unicode.IsPrint] says: control characters, marks that turn the direction of writing, invisible
// spaces and bytes that are no UTF-8 never get through but where the function says so. What must be refused rather
// than shown (package upstream), nginx's syntax (internal/nginxconf) and HTML have checks of their own.
package safetext

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	cut        = "…"
	mostQuoted = 80
)

// Line prevents text from moving the cursor or starting a line: unprintable characters are escaped as in a Go string.
// Printable text, including backslashes, is kept, so applying it twice changes nothing.
func Line(s string) string {
	return escaped(s, func(string) int { return 0 })
}

// Screen is Line for a text with colours and line ends, which are kept. Foreign parts must go through Line first.
func Screen(s string) string {
	return escaped(s, func(rest string) int {
		if rest[0] == '\n' {
			return 1
		}
		return colour(rest)
	})
}

// escaped escapes unprintable characters. spare returns how many leading bytes to keep.
func escaped(s string, spare func(rest string) int) string {
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch one := s[i : i+n]; {
		case unicode.IsPrint(r) && (r != utf8.RuneError || n > 1):
			out.WriteString(one)
		default:
			if kept := spare(s[i:]); kept > 0 {
				n = kept
				out.WriteString(s[i : i+n])
				break
			}
			quoted := strconv.Quote(one)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return out.String()
}

// colour returns the length of the colour sequence at the beginning of text, or 0.
func colour(text string) int {
	rest, is := strings.CutPrefix(text, "\x1b[")
	if !is {
		return 0
	}
	left := strings.TrimLeft(rest, "0123456789;")
	if !strings.HasPrefix(left, "m") {
		return 0
	}
	return len(text) - len(left) + 1
}

// JSON escapes unprintable characters in the strings of a line of valid JSON. encoding/json only escapes ASCII control
// characters. The line end is kept.
func JSON(line []byte) []byte {
	disturbs := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
	if bytes.IndexFunc(line, disturbs) < 0 {
		return line
	}
	var out bytes.Buffer
	for _, r := range string(line) { // outside of strings, JSON is ASCII
		if !disturbs(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.Bytes()
}

// OneLine makes one line of a text: each run of unprintable characters becomes a space, or nothing at the beginning and
// end. Spaces are kept.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, odd), " ")
}

// Words is OneLine with single spaces between words.
func Words(s string) string { return strings.Join(strings.Fields(OneLine(s)), " ") }

func odd(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// Output cleans the output of a program: lines and tabs are kept, other unprintable characters become question marks,
// and surrounding space is removed.
func Output(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && odd(r) {
			return '?'
		}
		return r
	}, s))
}

// Quote quotes text like Go, limited to its first 80 bytes.
func Quote(s string) string {
	if head := head(s, mostQuoted); head != s {
		return strconv.Quote(head) + cut
	}
	return strconv.Quote(s)
}

// Name returns a short plain name as it is, and quotes others.
func Name(s string) string {
	if s == "" || len(s) > mostQuoted || strings.ContainsFunc(s, notPlain) {
		return Quote(s)
	}
	return s
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.:-", r)
}

// Cut limits a text to most bytes. A longer one is cut at a character boundary and gets an ellipsis of three more
// bytes. Cutting twice changes nothing.
func Cut(s string, most int) string {
	if head := head(s, most); head != s {
		return head + cut
	}
	return s
}

// head returns the beginning of a text in whole characters.
func head(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for n := most; n >= max(0, most-utf8.UTFMax+1); n-- {
		if utf8.RuneStart(s[n]) {
			return s[:n]
		}
	}
	return s[:most] // it was not UTF-8
}

// Runes returns the beginning of a text as UTF-8, limited to a number of characters. Invalid bytes become replacement
// characters. Control characters are kept.
func Runes(s string, most int) string {
	runes := []rune(strings.ToValidUTF8(s[:min(len(s), utf8.UTFMax*most)], "\uFFFD"))
	return string(runes[:min(len(runes), most)])
}
