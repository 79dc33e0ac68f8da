package cli

import "github.com/fatih/color"

// palette is the set of colours for a terminal. It is plain for a pipe.
type palette struct{ in, out, name, bad, good func(a ...any) string }

func newPalette(colours bool) palette {
	paint := func(attr ...color.Attribute) func(a ...any) string {
		c := color.New(attr...)
		if colours {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c.SprintFunc()
	}
	return palette{
		in: paint(color.FgGreen), out: paint(color.FgRed), name: paint(color.Bold),
		bad: paint(color.FgRed, color.Bold), good: paint(color.FgGreen, color.Bold),
	}
}
