// Package setting has the error that a component's Validate returns for a configuration key. The reader of the file can
// add its line.
package setting

import "fmt"

// Error describes an invalid value.
type Error struct {
	Key     string // as in the file, relative to the component's table, e.g. "max_removal"
	Value   any    // the invalid value
	Allowed string // what is allowed, e.g. "a number from 0 to 1"
	Why     string // what is wrong, including the value, if Allowed does not make it clear
}

// Error returns KEY = VALUE: and what is allowed.
func (e *Error) Error() string {
	if e.Why != "" {
		return e.Why + "; allowed is " + e.Allowed
	}
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
