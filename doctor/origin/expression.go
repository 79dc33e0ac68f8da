package origin

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

var named = regexp.MustCompile(`\(\?(?:P?<([A-Za-z0-9_]+)>|'([A-Za-z0-9_]+)')`)

// groupNames are the names that an expression captures.
func groupNames(expression string) []string {
	var all []string
	for _, m := range named.FindAllStringSubmatch(expression, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}

// plain is an expression as Go writes it.
func plain(expression string) string {
	expression = strings.TrimPrefix(strings.TrimPrefix(expression, "~"), "*")
	return named.ReplaceAllString(expression, "(?P<$1$2>")
}

// captured is what a group of an expression can hold: one of a few texts where the expression
// lists them, or else a part of what is looked at.
func (r *Tracer) captured(name, expression, subject string, at, pass *nginxtree.Directive, depth int) []Value {
	if list, ok := group(plain(expression), name); ok {
		return literals(list, at)
	}
	if subject != "" {
		client := false
		for _, v := range r.expand(subject, at, pass, depth+1) {
			client = client || slices.ContainsFunc(v, func(p Piece) bool { return p.Client != "" })
		}
		if !client {
			return []Value{{{unknown: true, At: at}}}
		}
	}
	return []Value{{{Client: name, By: expression, At: at}}}
}

// group is the texts that a group of an expression can capture, where they are few.
func group(expression, name string) ([]string, bool) {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return nil, false // what Go has not: lookahead and the like
	}
	var found *syntax.Regexp
	var look func(*syntax.Regexp)
	look = func(re *syntax.Regexp) {
		if re.Op == syntax.OpCapture && (re.Name == name || len(name) == 1 && name[0] == byte('0'+re.Cap)) {
			found = re
		}
		for _, s := range re.Sub {
			look(s)
		}
	}
	look(re)
	if found == nil {
		return nil, false
	}
	return texts(found)
}

const maxTexts = 32

// texts are all texts that an expression fits, where they are few.
func texts(re *syntax.Regexp) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpWordBoundary:
		return []string{""}, true
	case syntax.OpLiteral:
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		var all []string
		for i := 0; i < len(re.Rune); i += 2 {
			if re.Rune[i+1]-re.Rune[i] > maxTexts {
				return nil, false
			}
			for c := re.Rune[i]; c <= re.Rune[i+1]; c++ {
				all = append(all, string(c))
			}
		}
		return all, len(all) <= maxTexts
	case syntax.OpCapture:
		return texts(re.Sub[0])
	case syntax.OpQuest:
		all, ok := texts(re.Sub[0])
		return append(all, ""), ok
	case syntax.OpAlternate:
		var all []string
		for _, s := range re.Sub {
			list, ok := texts(s)
			if all = append(all, list...); !ok || len(all) > maxTexts {
				return nil, false
			}
		}
		return all, true
	case syntax.OpConcat:
		all := []string{""}
		for _, s := range re.Sub {
			list, ok := texts(s)
			if !ok || len(all)*len(list) > maxTexts {
				return nil, false
			}
			var longer []string
			for _, a := range all {
				for _, b := range list {
					longer = append(longer, a+b)
				}
			}
			all = longer
		}
		return all, true
	}
	return nil, false
}

// whole is the texts that an expression fits from end to end, where they are few.
func whole(expression string) ([]string, bool) {
	re, err := syntax.Parse(plain(expression), syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 2 || re.Sub[0].Op != syntax.OpBeginText ||
		re.Sub[len(re.Sub)-1].Op != syntax.OpEndText {
		return nil, false
	}
	return texts(re)
}
