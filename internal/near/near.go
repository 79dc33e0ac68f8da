// Package near guesses which word was meant by a misspelt one. It is for keys, flags and names, and knows no language.
package near

import "strings"

// Word returns the known word with the smallest edit distance to the given one, or "" if none is close enough.
func Word(given string, known []string) string {
	if len(given) > 100 {
		return ""
	}
	best, most := "", min(3, max(1, len(given)/3))
	for _, k := range known {
		if d := distance(strings.ToLower(given), strings.ToLower(k)); d <= most {
			best, most = k, d-1
		}
	}
	return best
}

// distance returns the number of insertions, deletions, substitutions and transpositions from a to b (optimal string
// alignment).
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
