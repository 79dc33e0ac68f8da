package doctor

import (
	"strconv"
	"strings"
	"time"
)

// size parses nginx's 8k and 2m.
func size(s string) (int, bool) {
	unit := 1
	switch {
	case strings.HasSuffix(s, "k"), strings.HasSuffix(s, "K"):
		unit = 1 << 10
	case strings.HasSuffix(s, "m"), strings.HasSuffix(s, "M"):
		unit = 1 << 20
	case strings.HasSuffix(s, "g"), strings.HasSuffix(s, "G"):
		unit = 1 << 30
	}
	if unit > 1 {
		s = s[:len(s)-1]
	}
	n, err := strconv.Atoi(s)
	return n * unit, err == nil && n >= 0 && n <= 1<<31
}

// duration parses nginx's 500ms, 2s, 1m, and 10 in seconds.
func duration(s string) (time.Duration, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	return d, err == nil
}
