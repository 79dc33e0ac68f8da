package origin

import (
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// assigned is what set and expressions may have put into a variable before it is used: by the
// directives of the location, or the server's where the location's need not have.
func (r *Tracer) assigned(name string, number bool, use, pass *nginxtree.Directive, depth int) []Value {
	if e := use; e.Parent != nil && e.Parent.Name() == "map" { // a map's entry: what its expression captures
		if strings.HasPrefix(e.Name(), "~") && (number || slices.Contains(groupNames(e.Name()), name)) {
			return r.captured(name, e.Name(), source(e.Parent), e, pass, depth)
		}
		use = pass
	}
	var all []Value
	wasIn := use
	early := use.Name() == "set" || use.Name() == "if" || use.Name() == "rewrite" // runs in order
	mentioned := false
	for block := use.Parent; block != nil && block.Name() != "http"; wasIn, block = block, block.Parent {
		if wasIn.Name() == "location" && block.Name() == "location" {
			// nginx does not run the directives of a location around another.
			if found, ok := r.byLocation(name, number, block, pass, depth); ok {
				return append(all, found...)
			}
			continue
		}
		list := block.Block
		if early && (wasIn == use || wasIn.Name() == "if") {
			list = list[:max(0, slices.Index(list, wasIn))]
		}
		if block.Name() == "if" {
			if found, ok := r.byIf(name, number, block, pass, depth); ok {
				all = append(all, found...)
			}
		}
		found, sure := r.inBlock(name, number, list, wasIn, pass, depth)
		all = append(all, found...)
		mentioned = mentioned || len(found) > 0
		if sure {
			return all
		}
		if found, ok := r.byLocation(name, number, block, pass, depth); ok {
			return append(all, found...)
		}
	}
	if len(all) == 0 && !number && r.isSet(name) {
		return []Value{{}} // some other place sets it
	}
	return all
}

func (r *Tracer) isSet(name string) bool {
	found := false
	r.tree.Walk(func(d *nginxtree.Directive) {
		found = found || d.Name() == "set" && len(d.Args) == 3 && bare(d.Args[1]) == name
	})
	return found
}

// inBlock is what the directives of one block put into a variable, the last first. It is sure
// where one of them always runs.
func (r *Tracer) inBlock(name string, number bool, list []*nginxtree.Directive, own, pass *nginxtree.Directive, depth int) ([]Value, bool) {
	var all []Value
	for _, d := range slices.Backward(list) {
		switch {
		case d == own:
		case d.Name() == "set" && len(d.Args) == 3 && bare(d.Args[1]) == name:
			return append(all, r.expand(d.Args[2], d, pass, depth)...), true
		case d.Name() == "auth_request_set" && len(d.Args) == 3 && bare(d.Args[1]) == name:
			all = append(all, r.expand(d.Args[2], d, pass, depth)...)
		case d.Name() == "rewrite" && len(d.Args) > 2 && (number || slices.Contains(groupNames(d.Args[1]), name)):
			all = append(all, r.captured(name, d.Args[1], "", d, pass, depth)...)
		case d.Name() == "if":
			if found, ok := r.byIf(name, number, d, pass, depth); ok {
				all = append(all, found...)
			}
			found, _ := r.inBlock(name, number, d.Block, nil, pass, depth)
			all = append(all, found...)
		}
		if len(all) > maxValues {
			break
		}
	}
	return all, false
}

// condition is what an if looks at, and by which operator and word.
func condition(d *nginxtree.Directive) (subject, op, word string) {
	words := slices.Clone(d.Args[1:])
	if len(words) == 0 {
		return "", "", ""
	}
	if words[0] = strings.TrimPrefix(words[0], "("); words[0] == "" {
		words = words[1:]
	}
	if n := len(words); n > 1 && words[n-1] == ")" {
		words = words[:n-1]
	} else if n > 0 {
		words[n-1] = strings.TrimSuffix(words[n-1], ")")
	}
	switch len(words) {
	case 1:
		return words[0], "", ""
	case 3:
		return words[0], words[1], words[2]
	}
	return "", "", ""
}

func (r *Tracer) byIf(name string, number bool, d, pass *nginxtree.Directive, depth int) ([]Value, bool) {
	subject, op, word := condition(d)
	if !strings.HasPrefix(strings.TrimPrefix(op, "!"), "~") || !number && !slices.Contains(groupNames(word), name) {
		return nil, false
	}
	return r.captured(name, word, subject, d, pass, depth), true
}

// byLocation is what the expression of a location or of a server's name captures.
func (r *Tracer) byLocation(name string, number bool, block, pass *nginxtree.Directive, depth int) ([]Value, bool) {
	switch block.Name() {
	case "location":
		expression := ""
		switch {
		case len(block.Args) == 3 && (block.Args[1] == "~" || block.Args[1] == "~*"):
			expression = block.Args[2]
		case len(block.Args) == 2 && strings.HasPrefix(block.Args[1], "~"):
			expression = block.Args[1]
		}
		if expression != "" && (number || slices.Contains(groupNames(expression), name)) {
			return r.captured(name, expression, "", block, pass, depth), true
		}
	case "server":
		var all []Value
		for _, d := range block.Children("server_name") {
			for _, n := range d.Args[1:] {
				if strings.HasPrefix(n, "~") && (number || slices.Contains(groupNames(n), name)) {
					all = append(all, r.captured(name, n, "", d, pass, depth)...)
				}
			}
		}
		return all, len(all) > 0
	}
	return nil, false
}

// guarded is the few texts that a variable can hold where the request goes on: an if ends all
// others.
func (r *Tracer) guarded(name string, use, pass *nginxtree.Directive) ([]Value, bool) {
	for block := pass.Parent; block != nil && block.Name() != "http"; block = block.Parent {
		for _, d := range block.Children("if") {
			if len(d.Children("return")) == 0 || d == use {
				continue
			}
			subject, op, word := condition(d)
			if !strings.HasPrefix(subject, "$") {
				continue
			}
			if bare(subject) == name && strings.HasPrefix(op, "!~") {
				if list, ok := whole(word); ok {
					return literals(list, d), true
				}
			}
			if list, ok := r.guardedByMap(name, bare(subject), op, word); ok {
				return literals(list, d), true
			}
		}
		if block.Name() == "location" && block.Parent != nil && block.Parent.Name() == "location" {
			for block.Parent != nil && block.Parent.Name() == "location" {
				block = block.Parent
			}
		}
	}
	return nil, false
}

// guardedByMap is the keys of a map over the variable whose values let the request go on.
func (r *Tracer) guardedByMap(name, by, op, word string) ([]string, bool) {
	d := r.maps[by]
	if d == nil || d.Name() != "map" || len(d.Args) != 3 || bare(d.Args[1]) != name || !strings.HasPrefix(d.Args[1], "$") {
		return nil, false
	}
	ends := func(value string) bool {
		switch op {
		case "":
			return value != "" && value != "0"
		case "=":
			return value == word
		case "!=":
			return value != word
		}
		return false
	}
	var on []string
	other := ""
	for _, e := range d.Block {
		if len(e.Args) != 2 || e.Name() == "include" {
			continue
		}
		switch value := e.Args[1]; {
		case strings.Contains(value, "$"):
			return nil, false
		case e.Name() == "default":
			other = value
		case ends(value):
		case exact(d, e):
			on = append(on, e.Name())
		default:
			list, ok := whole(e.Name())
			if !ok {
				return nil, false
			}
			on = append(on, list...)
		}
	}
	return on, ends(other)
}
