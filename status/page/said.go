package page

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// phrase is something that the daemon says, in English and in the words of this page: said.json. What
// is in braces stays as it is, but for what begins with "why": that is a phrase again. The first phrase
// that fits counts. The script has the same rules.
type phrase struct {
	English string `json:"en"`
	Chinese string `json:"zh"`

	form *regexp.Regexp
}

// phrases are all of them.
type phrases []phrase

var brace = regexp.MustCompile(`\{[a-z]+[0-9]*\}`)

// loadPhrases reads the embedded list, which a test has made sure of.
func loadPhrases() phrases {
	var list phrases
	if err := json.Unmarshal(read("said.json"), &list); err != nil {
		panic(err)
	}
	for i, p := range list {
		var form strings.Builder
		at := 0
		for _, span := range brace.FindAllStringIndex(p.English, -1) {
			form.WriteString(regexp.QuoteMeta(p.English[at:span[0]]))
			form.WriteString("(?P<" + p.English[span[0]+1:span[1]-1] + ">.+?)")
			at = span[1]
		}
		form.WriteString(regexp.QuoteMeta(p.English[at:]))
		list[i].form = regexp.MustCompile("^(?s:" + form.String() + ")$")
	}
	return list
}

// deepest is how many phrases may be one within the other. Text from a registry may look like many.
const deepest = 8

// inChinese is what the daemon said, or as it said it where no phrase fits.
func (list phrases) inChinese(text string) string {
	var quotes []string
	text = quoted.ReplaceAllStringFunc(text, func(quote string) string {
		quotes = append(quotes, quote)
		return fmt.Sprintf("\x00%d\x00", len(quotes)-1)
	})
	text = list.translate(text, deepest)
	for i, quote := range quotes {
		text = strings.ReplaceAll(text, fmt.Sprintf("\x00%d\x00", i), quote)
	}
	return text
}

// quoted is a name from a registry, in which nothing is to be found.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func (list phrases) translate(text string, left int) string {
	if left == 0 {
		return text
	}
	for _, p := range list {
		found := p.form.FindStringSubmatch(text)
		if found == nil {
			continue
		}
		return brace.ReplaceAllStringFunc(p.Chinese, func(name string) string {
			name = strings.Trim(name, "{}")
			value := found[p.form.SubexpIndex(name)]
			if strings.HasPrefix(name, "why") {
				return list.translate(value, left-1)
			}
			return value
		})
	}
	return text
}
