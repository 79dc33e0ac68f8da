package page

import (
	"fmt"
	"strings"
)

// Said is what the daemon said in Chinese.
func Said(text string) string { return loadPhrases().inChinese(text) }

// Samples are a text for each phrase, and what it is in Chinese.
func Samples() [][2]string {
	var all [][2]string
	for i, p := range loadPhrases() {
		var pairs []string
		for j, name := range brace.FindAllString(p.English, -1) {
			pairs = append(pairs, name, fmt.Sprintf("x%d-%d", i, j))
		}
		fill := strings.NewReplacer(pairs...)
		all = append(all, [2]string{fill.Replace(p.English), fill.Replace(p.Chinese)})
	}
	return all
}
