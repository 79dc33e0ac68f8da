package nginxtree

import "slices"

// Children are the directives of these names that stand in the block itself.
func (d *Directive) Children(names ...string) []*Directive {
	var found []*Directive
	for _, c := range d.Block {
		if slices.Contains(names, c.Name()) {
			found = append(found, c)
		}
	}
	return found
}

// Inherited is the directives of these names that hold in a block: the block's own, or where
// it has none those of the nearest block around it, as nginx does for most directives.
func (d *Directive) Inherited(names ...string) []*Directive {
	for ; d != nil; d = d.Parent {
		if found := d.Children(names...); len(found) > 0 {
			return found
		}
	}
	return nil
}

// Value is the first argument of the directive that holds in a block, or other.
func (d *Directive) Value(name, other string) string {
	if found := d.Inherited(name); len(found) > 0 && len(found[0].Args) > 1 {
		return found[0].Args[1]
	}
	return other
}

// Around is the nearest block of that name, beginning with the directive itself.
func (d *Directive) Around(name string) *Directive {
	for ; d != nil; d = d.Parent {
		if d.Name() == name {
			return d
		}
	}
	return nil
}
