package reason

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Phrase is a message template in each language. Blanks are written in braces.
type Phrase struct {
	code             string
	English, Chinese string
	// Blanks are the names of the blanks, in the order of the English text.
	Blanks []string

	english, chinese []piece
}

// piece is a part of a phrase: a text, and the index of the blank that follows it, or -1.
type piece struct {
	text  string
	blank int
}

// phrases are all phrases, by code. They are package variables, so the map is complete before main starts.
var phrases = map[string]*Phrase{}

var brace = regexp.MustCompile(`\{[a-z0-9]+\}`)

// New declares a phrase. Use it to initialize a package variable. It panics if the code is taken or the Chinese blanks
// differ from the English ones: both are bugs in the program.
func New(code, english, chinese string) *Phrase {
	p := &Phrase{code: code, English: english, Chinese: chinese}
	for _, blank := range brace.FindAllString(english, -1) {
		if name := strings.Trim(blank, "{}"); !slices.Contains(p.Blanks, name) {
			p.Blanks = append(p.Blanks, name)
		}
	}
	p.english, p.chinese = p.pieces(english), p.pieces(chinese)
	filled := func(pieces []piece) (n int) {
		used := map[int]bool{}
		for _, one := range pieces {
			used[one.blank] = true
		}
		delete(used, -1)
		return len(used)
	}
	if phrases[code] != nil || filled(p.chinese) != len(p.Blanks) {
		panic(fmt.Sprintf("reason %q: there is one already, or its blanks differ: %q, %q", code, english, chinese))
	}
	phrases[code] = p
	return p
}

// pieces splits a text at its blanks. It panics if a blank is not in the English text.
func (p *Phrase) pieces(words string) []piece {
	var all []piece
	at := 0
	for _, span := range brace.FindAllStringIndex(words, -1) {
		blank := slices.Index(p.Blanks, words[span[0]+1:span[1]-1])
		if blank < 0 {
			panic(fmt.Sprintf("reason %q: no blank %s in English", p.code, words[span[0]:span[1]]))
		}
		all = append(all, piece{words[at:span[0]], blank})
		at = span[1]
	}
	return append(all, piece{words[at:], -1})
}

func (p *Phrase) in(language string) []piece {
	if language == Chinese {
		return p.chinese
	}
	return p.english
}

// Code returns the code of the phrase.
func (p *Phrase) Code() string { return p.code }

// All returns the phrases of all packages in the program, ordered by code.
func All() []*Phrase {
	return slices.SortedFunc(maps.Values(phrases), func(a, b *Phrase) int { return strings.Compare(a.code, b.code) })
}
