package nginxtree

import "slices"

// Children returns the directives of these names directly in the block.
func (d *Directive) Children(names ...string) []*Directive {
	var found []*Directive
	for _, c := range d.Block {
		if slices.Contains(names, c.Name()) {
			found = append(found, c)
		}
	}
	return found
}

// Inherited returns the directives of these names that apply to a block: its own, or else those of the nearest
// enclosing block, as in nginx for most directives.
func (d *Directive) Inherited(names ...string) []*Directive {
	for ; d != nil; d = d.Parent {
		if found := d.Children(names...); len(found) > 0 {
			return found
		}
	}
	return nil
}

// Value returns the first argument of the directive that applies to a block, or other.
func (d *Directive) Value(name, other string) string {
	if found := d.Inherited(name); len(found) > 0 && len(found[0].Args) > 1 {
		return found[0].Args[1]
	}
	return other
}

// Around returns the nearest block of that name, starting with the directive itself.
func (d *Directive) Around(name string) *Directive {
	for ; d != nil; d = d.Parent {
		if d.Name() == name {
			return d
		}
	}
	return nil
}
