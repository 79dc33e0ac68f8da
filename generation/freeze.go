package generation

import (
	"fmt"
	"time"

	"swallowkeeper/upstream"
)

// Freeze keeps one upstream, or all of them, as written, whatever the registries publish.
type Freeze struct {
	Name  Scope
	Until time.Time // the zero time means until it is released
	// Signed is who ordered it. Earlier versions did not record that.
	Signed Signature
}

// Scope is what a freeze applies to: the upstream of that name, or [Everything], the zero value.
type Scope string

// Everything is the scope of all upstreams, including future ones.
const Everything Scope = ""

// EverythingText is [Everything] in the conf file and the API. No upstream can have that name.
const EverythingText = "*"

// ParseScope parses the output of String. The empty string is an error, so that a forgotten name does not mean
// everything.
func ParseScope(text string) (Scope, error) {
	switch text {
	case "":
		return "", fmt.Errorf("no name is given, and %q is everything", EverythingText)
	case EverythingText:
		return Everything, nil
	}
	return Scope(text), nil
}

// String returns the scope as the conf file and the API write it.
func (s Scope) String() string {
	if s == Everything {
		return EverythingText
	}
	return string(s)
}

// Words returns the scope for use in a sentence: everything, or upstream web.
func (s Scope) Words() string {
	if s == Everything {
		return "everything"
	}
	return "upstream " + string(s)
}

// Covers reports whether an upstream is in the scope.
func (s Scope) Covers(name string) bool { return s == Everything || upstream.SameName(string(s), name) }

// Valid returns what is wrong with the name of the upstream, or nil.
func (s Scope) Valid() error {
	if s == Everything {
		return nil
	}
	return upstream.ValidName(string(s))
}
