package upstream

import "time"

// Defaults are the options of upstreams and their servers as an operator set them:
// for all, and for some by name. Registries build their upstreams from it.
type Defaults struct {
	All  Template
	Name map[string]Template // by the upstream's name, whole, not added to All
}

// Template is what a new upstream and each of its servers start from.
type Template struct {
	Options     Options
	Weight      int
	MaxConns    int
	MaxFails    int
	FailTimeout time.Duration
}

// DefaultTemplate is what holds where an operator says nothing.
func DefaultTemplate() Template {
	return Template{
		Options:     Options{Keepalive: 20},
		Weight:      1,
		MaxFails:    3,
		FailTimeout: 2 * time.Second,
	}
}

// For is the template of one upstream.
func (d Defaults) For(name string) Template {
	if t, ok := d.Name[name]; ok {
		return t
	}
	return d.All
}

// Server makes a server of the template. Its address and origin are the caller's part.
func (t Template) Server() Server {
	return Server{Weight: t.Weight, MaxConns: t.MaxConns, MaxFails: t.MaxFails, FailTimeout: t.FailTimeout}
}
