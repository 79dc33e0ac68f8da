package upstream

import "time"

// Defaults are the operator's default options for upstreams and their servers: for all, and for some by name.
// Registries build their upstreams from them.
type Defaults struct {
	All  Template
	Name map[string]Template // by the name of the upstream; replaces All, not merged with it
}

// Template is the initial state of a new upstream and of each of its servers.
type Template struct {
	Options     Options
	Weight      int
	MaxConns    int
	MaxFails    int
	FailTimeout time.Duration
}

// DefaultTemplate returns the built-in defaults.
func DefaultTemplate() Template {
	return Template{
		Options:     Options{Keepalive: 20},
		Weight:      1,
		MaxFails:    3,
		FailTimeout: 2 * time.Second,
	}
}

// For returns the template of the named upstream.
func (d Defaults) For(name string) Template {
	if t, ok := d.Name[name]; ok {
		return t
	}
	return d.All
}

// Server returns a server with the template's options. The caller sets its address and origin.
func (t Template) Server() Server {
	return Server{Weight: t.Weight, MaxConns: t.MaxConns, MaxFails: t.MaxFails, FailTimeout: t.FailTimeout}
}
