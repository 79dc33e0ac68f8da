package generation

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Signature is who gave an order, and why. The zero value means nobody: the program acted on its own.
type Signature struct {
	By  string // a user or the name of a token, as returned by [Signer]
	Why string // the person's reason, valid by [ValidWhy]; "" if none was given
}

// MaxWhy is the maximum length of a person's reason, in bytes.
const MaxWhy = 200

// maxSigner is the maximum length of a person's name, in bytes.
const maxSigner = 64

// Unknown is the signer if the system does not tell who it was.
const Unknown = "unknown"

// Signer sanitizes a name for a signature. Names come from the system's user database, which may contain anything.
func Signer(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != ' ' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(`_.-@\+$`, r) {
			return '_'
		}
		return r
	}, strings.TrimSpace(name))
	for len(name) > maxSigner {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	if name = strings.TrimSpace(name); name == "" {
		return Unknown
	}
	return name
}

// ValidWhy returns what is wrong with a person's reason, or nil. The reason appears in a comment of the conf file, in
// log lines and on terminals.
func ValidWhy(why string) error {
	switch {
	case len(why) > MaxWhy:
		return fmt.Errorf("the reason has %d bytes, at most %d are allowed", len(why), MaxWhy)
	case !utf8.ValidString(why):
		return errors.New("the reason is not UTF-8")
	case strings.ContainsFunc(why, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return errors.New("the reason must be one line of visible characters")
	case strings.TrimSpace(why) != why:
		return errors.New("the reason begins or ends with a space")
	}
	return nil
}

// Valid returns what is wrong with the signature, or nil.
func (s Signature) Valid() error {
	if s == (Signature{}) {
		return nil
	}
	if Signer(s.By) != s.By {
		return fmt.Errorf("%.60q is no name of a person", s.By)
	}
	return ValidWhy(s.Why)
}

// String returns the signature as text, such as "alice: deploy 42".
func (s Signature) String() string {
	if s.Why == "" {
		return s.By
	}
	return s.By + signatureEnd + s.Why
}

// signatureEnd separates the name, which has no colon, from the reason.
const signatureEnd = ": "

// ParseSignature parses the output of String.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	s.By, s.Why, _ = strings.Cut(text, signatureEnd)
	if s.By == "" {
		return Signature{}, errors.New("the name is empty")
	}
	return s, s.Valid()
}
