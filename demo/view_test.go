package demo

import (
	"fmt"
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	var out screen
	v := newView(&out, true, nil) // 80 columns, as it is no file
	colour := v.warn("held:")
	text := strings.Repeat("word ", 20) + colour + " " + strings.Repeat("x", 90)
	for k, line := range strings.Split(v.wrap(text, 9), "\n") {
		if k == 0 {
			line = strings.Repeat(" ", 9) + line
		}
		if !strings.HasPrefix(line, strings.Repeat(" ", 9)) || columns(line) > 80 && !strings.Contains(line, "xxx") {
			t.Errorf("line %d: %q", k, line)
		}
	}
	if got := newView(&out, false, nil).wrap(text, 9); got != text {
		t.Errorf("a pipe's line is wrapped: %q", got)
	}
}

// TestPicture draws on a small terminal in memory.
func TestPicture(t *testing.T) {
	var out screen
	lines := []string{"one", "two", "three"}
	v := newView(&out, true, func(int) []string { return lines })
	v.start()
	v.say("first")
	lines = lines[:1]
	v.say("second")
	v.close()
	v.say("third")
	if got, want := shown(t, out.String()), "first|second|third|"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// shown is what a terminal has on it, its rows joined by |. It knows what the view uses, no more.
func shown(t *testing.T, text string) string {
	t.Helper()
	rows, row := []string{""}, 0
	for text != "" {
		var n int
		switch {
		case strings.HasPrefix(text, "\n"):
			row++
			if row == len(rows) {
				rows = append(rows, "")
			}
			text = text[1:]
		case strings.HasPrefix(text, "\r"):
			text = text[1:]
		case strings.HasPrefix(text, clearLine):
			text = text[len(clearLine):]
		case strings.HasPrefix(text, clearBelow):
			rows = append(rows[:row], "")
			text = text[len(clearBelow):]
		case strings.HasPrefix(text, "\x1b[?"):
			text = text[strings.IndexAny(text, "hl")+1:]
		case strings.HasPrefix(text, "\x1b["):
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err != nil {
				t.Fatalf("unknown: %q", text)
			}
			row -= n
			text = text[strings.Index(text, "A")+1:]
		default:
			end := strings.IndexAny(text, "\r\n\x1b")
			if end < 0 {
				end = len(text)
			}
			rows[row] = text[:end]
			text = text[end:]
		}
	}
	return strings.Join(rows, "|")
}
