package consul

// departed remembers the names of services that left the list. Beyond a limit the oldest are forgotten, as there may be
// ever new names.
type departed struct{ names, older map[string]bool }

const maxDeparted = 10_000

func (d *departed) add(name string) {
	if len(d.names) >= maxDeparted {
		d.older, d.names = d.names, nil
	}
	if d.names == nil {
		d.names = map[string]bool{}
	}
	d.names[name] = true
}

// take removes a name, and reports whether it was remembered.
func (d *departed) take(name string) bool {
	found := d.names[name] || d.older[name]
	delete(d.names, name)
	delete(d.older, name)
	return found
}
