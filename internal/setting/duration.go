package setting

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// longer are units that Go's durations lack.
var longer = regexp.MustCompile(`(\d+(?:\.\d+)?)([dw])`)

// ParseDuration is [time.ParseDuration] with days (d) of 24 hours and weeks (w): 1d12h.
func ParseDuration(text string) (time.Duration, error) {
	return time.ParseDuration(longer.ReplaceAllStringFunc(text, func(part string) string {
		n, err := strconv.ParseFloat(part[:len(part)-1], 64)
		if err != nil {
			return part
		}
		hours := n * 24
		if strings.HasSuffix(part, "w") {
			hours *= 7
		}
		return strconv.FormatFloat(hours, 'f', -1, 64) + "h"
	}))
}

// FormatDuration formats d without the zero units that Go appends: 3m, not 3m0s.
func FormatDuration(d time.Duration) string {
	text := d.String()
	if rest, is := strings.CutSuffix(text, "m0s"); is {
		text = rest + "m"
	}
	if rest, is := strings.CutSuffix(text, "h0m"); is {
		text = rest + "h"
	}
	return text
}
