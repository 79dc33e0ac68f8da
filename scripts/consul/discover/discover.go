// Package discover has what Consul needs to be compiled, and no cloud: looking for servers to join in AWS, Azure, Google's
// and ten other clouds is nothing that a test here does, and their clients are half of what there is to download and to
// compile.
package discover

import (
	"errors"
	"log"
)

// Provider is as in the original.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers has none.
var Providers = map[string]Provider{}

// Discover finds nothing.
type Discover struct{}

// Option is as in the original.
type Option func(*Discover) error

// New makes one that finds nothing, whatever the options.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithUserAgent does nothing.
func WithUserAgent(string) Option { return nil }

// WithProviders does nothing.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs is an error.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("built for tests: the clouds' clients are left out")
}

// Names has none.
func (*Discover) Names() []string { return nil }
