package upstream

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Signature says who gave an order, and why. The zero value is nobody's: what the program did by itself.
type Signature struct {
	By  string // a user or the name of a token, as [Signer] makes it
	Why string // in the person's words, as [ValidWhy] allows; "" where none were given
}

// MaxWhy is the longest reason of a person, in bytes.
const MaxWhy = 200

// maxSigner is the longest name of a person, in bytes.
const maxSigner = 64

// Unknown signs where the system does not tell who it was.
const Unknown = "unknown"

// Signer makes a name fit for a signature. Names come from the system's list of users, which may hold anything.
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

// ValidWhy says what is wrong with a person's reason, or nil. It stands in a comment of the conf file, in
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

// Valid says what is wrong with a signature, or nil.
func (s Signature) Valid() error {
	if s == (Signature{}) {
		return nil
	}
	if Signer(s.By) != s.By {
		return fmt.Errorf("%.60q is no name of a person", s.By)
	}
	return ValidWhy(s.Why)
}

// String is the signature in words: alice: deploy 42.
func (s Signature) String() string {
	if s.Why == "" {
		return s.By
	}
	return s.By + signatureEnd + s.Why
}

// signatureEnd is between a name, which has no colon, and the reason.
const signatureEnd = ": "

// ParseSignature reads what String wrote.
func ParseSignature(text string) (Signature, error) {
	var s Signature
	s.By, s.Why, _ = strings.Cut(text, signatureEnd)
	if s.By == "" {
		return Signature{}, errors.New("the name is empty")
	}
	return s, s.Valid()
}
