package registry

import (
	"errors"
	"time"
)

// lasting wraps an error that retrying does not solve.
type lasting struct{ error }

func (l lasting) Unwrap() error { return l.error }

// Lasting marks an error that retrying does not solve: someone must correct what is registered, or grant a permission.
func Lasting(err error) error { return lasting{err} }

// lastingFor is how long such an error must persist: the next try may follow the replication of a token, or a saved
// file.
const lastingFor = time.Second

// Hopeless reports whether waiting for the first answer is pointless.
func (c Condition) Hopeless(now time.Time) bool {
	var l lasting
	return errors.As(c.Trouble, &l) && now.Sub(c.Since) >= lastingFor
}
