// Package reason explains decisions in English and Chinese. A reason is a code with arguments. Its words are declared
// once, in both languages, in the package that uses them:
//
//	var tooMany = reason.New("max-removal", "{n} of {all} servers would go", "{all} 台服务器中有 {n} 台将被移除")
//
//	hold.Reason = tooMany.With(n, all)
//
// A reason is put into words only when somebody reads it. A test in package kinds checks all phrases.
package reason

import (
	"fmt"
	"strconv"
	"strings"

	"swallowkeeper/internal/safetext"
)

// Languages of a reason.
const (
	English = "en"
	Chinese = "zh"
)

// Reason is a code with its arguments, or a fixed text. The zero value means no reason. Equal values read the same.
type Reason struct {
	// encoded is a colon and a text, or a code and its arguments. An argument is encoded the same way and written as a
	// space, its length, a colon and the encoding. The format never leaves the process.
	encoded string
}

const (
	text   = ':'
	joined = "+" // the code of a joined reason
)

// Text returns a reason with a fixed text, such as the error of a library. It reads the same in each language.
func Text(s string) Reason {
	if s == "" {
		return Reason{}
	}
	return Reason{string(text) + s}
}

// Join combines several reasons into one, without the empty ones.
func Join(all ...Reason) Reason {
	b, n, last := []byte(joined), 0, Reason{}
	for _, r := range all {
		if !r.IsZero() {
			b, last = appendArgument(b, r.encoded), r
			n++
		}
	}
	if n < 2 {
		return last
	}
	return Reason{string(b)}
}

// Of returns the reason of an error. An error that wraps another one adds its own words, so it becomes a text.
func Of(err error) Reason {
	switch e := err.(type) { //nolint:errorlint // see above
	case nil:
		return Reason{}
	case interface{ Reason() Reason }:
		return e.Reason()
	}
	return Text(err.Error())
}

// IsZero reports whether the reason is empty.
func (r Reason) IsZero() bool { return r.encoded == "" }

// Err returns the reason as an error, or nil if it is empty. [Of] reverses it.
func (r Reason) Err() error {
	if r.IsZero() {
		return nil
	}
	return &failure{r}
}

type failure struct{ reason Reason }

func (f *failure) Error() string  { return f.reason.String() }
func (f *failure) Reason() Reason { return f.reason }

// Compare orders reasons in an arbitrary but stable way.
func (r Reason) Compare(o Reason) int { return strings.Compare(r.encoded, o.encoded) }

// Code returns the code, whatever the arguments and the language: the first one of a joined reason, "" for a text.
func (r Reason) Code() string {
	if r.IsZero() || r.encoded[0] == text {
		return ""
	}
	code, rest, _ := strings.Cut(r.encoded, " ")
	if code == joined {
		first, _ := argument(" " + rest)
		return first.Code()
	}
	return code
}

// String returns the reason in English.
func (r Reason) String() string { return r.In(English) }

// In returns the reason as one line in the given language: Chinese for [Chinese], else English. Unprintable characters
// in texts of others are escaped.
func (r Reason) In(language string) string { return safetext.Line(r.words(language)) }

func (r Reason) words(language string) string {
	if r.IsZero() {
		return ""
	}
	if r.encoded[0] == text {
		return r.encoded[1:]
	}
	code, args := r.split()
	if code == joined {
		all := make([]string, len(args))
		for i, a := range args {
			all[i] = a.words(language)
		}
		return strings.Join(all, "; ")
	}
	p := phrases[code]
	if p == nil {
		return code
	}
	var b strings.Builder
	for _, piece := range p.in(language) {
		b.WriteString(piece.text)
		if piece.blank >= 0 && piece.blank < len(args) {
			b.WriteString(args[piece.blank].words(language))
		}
	}
	return b.String()
}

// MarshalText implements encoding.TextMarshaler. It writes English.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. The result is a text.
func (r *Reason) UnmarshalText(s []byte) error {
	*r = Text(string(s))
	return nil
}

func (r Reason) split() (code string, args []Reason) {
	code, _, _ = strings.Cut(r.encoded, " ")
	for rest := r.encoded[len(code):]; rest != ""; {
		var a Reason
		a, rest = argument(rest)
		args = append(args, a)
	}
	return code, args
}

// argument splits off the first argument. all begins with a space.
func argument(all string) (first Reason, rest string) {
	length, rest, _ := strings.Cut(all[1:], ":")
	n, _ := strconv.Atoi(length)
	return Reason{rest[:n]}, rest[n:]
}

func appendArgument(b []byte, encoded string) []byte {
	b = strconv.AppendInt(append(b, ' '), int64(len(encoded)), 10)
	return append(append(b, ':'), encoded...)
}

func appendText(b []byte, s string) []byte {
	if s == "" {
		return append(b, " 0:"...)
	}
	b = strconv.AppendInt(append(b, ' '), int64(1+len(s)), 10)
	return append(append(b, ':', text), s...)
}

// With fills in the blanks, in the order of the English text. Arguments are texts, numbers, errors, or other reasons,
// which appear in the same language.
func (p *Phrase) With(args ...any) Reason {
	if len(args) == 0 {
		return Reason{p.code}
	}
	var room [128]byte
	b := append(room[:0], p.code...)
	for _, a := range args {
		switch a := a.(type) {
		case string:
			b = appendText(b, a)
		case Reason:
			b = appendArgument(b, a.encoded)
		case error:
			b = appendArgument(b, Of(a).encoded)
		case int:
			b = appendText(b, strconv.Itoa(a))
		default:
			b = appendText(b, fmt.Sprint(a))
		}
	}
	return Reason{string(b)}
}

// Err returns With as an error. See [Reason.Err].
func (p *Phrase) Err(args ...any) error { return p.With(args...).Err() }

// Of returns the arguments of a reason, and whether it was made from this phrase.
func (p *Phrase) Of(r Reason) (args []Reason, is bool) {
	if code, rest, _ := strings.Cut(r.encoded, " "); code != p.code || rest == "" {
		return nil, code == p.code
	}
	_, args = r.split()
	return args, true
}
