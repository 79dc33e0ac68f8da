// Package setting is the error that a component's Validate returns for a key of its
// configuration, so that whoever read the file can say on which line it stands.
package setting

import "fmt"

// Error says which key has a value that is not allowed, and what is.
type Error struct {
	Key     string // as in the file, within the component's table, e.g. "max_removal"
	Value   any    // what was found
	Allowed string // what would be right, e.g. "a number from 0 to 1"
}

// Error is KEY = VALUE: and what is allowed.
func (e *Error) Error() string {
	return fmt.Sprintf("%s = %s: allowed is %s", e.Key, show(e.Value), e.Allowed)
}

func show(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case fmt.Stringer:
		return fmt.Sprintf("%q", v.String())
	default:
		return fmt.Sprint(v)
	}
}
