package upstream

import (
	"fmt"
	"time"
)

// Freeze leaves an upstream, or everything, as it is written, whatever the registries say.
type Freeze struct {
	Name  Scope
	Until time.Time // the zero time: until it is released
	// Signed is whose order it was. Earlier versions did not note that.
	Signed Signature
}

// Scope is what a freeze is of: the upstream of that name, or [Everything], the zero value.
type Scope string

// Everything is the scope of all upstreams, also of those that come later.
const Everything Scope = ""

// EverythingText is [Everything] as the conf file and the API write it. No upstream can have that name.
const EverythingText = "*"

// ParseScope reads what String wrote. No text is an error: who forgets a name does not mean everything.
func ParseScope(text string) (Scope, error) {
	switch text {
	case "":
		return "", fmt.Errorf("no name is given, and %q is everything", EverythingText)
	case EverythingText:
		return Everything, nil
	}
	return Scope(text), nil
}

// String is the scope as the conf file and the API write it.
func (s Scope) String() string {
	if s == Everything {
		return EverythingText
	}
	return string(s)
}

// Words is the scope within a sentence: everything, or upstream web.
func (s Scope) Words() string {
	if s == Everything {
		return "everything"
	}
	return "upstream " + string(s)
}

// Covers reports whether an upstream is in the scope.
func (s Scope) Covers(name string) bool { return s == Everything || SameName(string(s), name) }

// Valid says what is wrong with the upstream's name, or nil.
func (s Scope) Valid() error {
	if s == Everything {
		return nil
	}
	return ValidName(string(s))
}
