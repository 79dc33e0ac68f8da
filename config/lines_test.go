package config

import (
	"strings"
	"testing"
)

func TestKeyLines(t *testing.T) {
	text := strings.Join([]string{
		/* 1 */ `top = 1 # = [x]`,
		/* 2 */ `# [comment]`,
		/* 3 */ `text = """`,
		/* 4 */ `[no]`,
		/* 5 */ `no = 1 \""" still`,
		/* 6 */ `"""""`,
		/* 7 */ `raw = '''\`,
		/* 8 */ `no = 2'''`,
		/* 9 */ `[ a . "b.c" ]`,
		/* 10 */ `x.y = "]#" `,
		/* 11 */ `  'q"' = 'it\'`,
		/* 12 */ `[[list]]`,
		/* 13 */ `k = [1, [2, "]"], # ]`,
		/* 14 */ `  {in = 1}, ]`,
		/* 15 */ `[list.sub]`,
		/* 16 */ `k = 1979-05-27 07:32:00`,
		/* 17 */ "[[list]]\r",
		/* 18 */ `k = {a = {b = 1}, c = ["}"]}`,
		/* 19 */ `[[list.more]]`,
		/* 20 */ `[[list.more]]`,
		/* 21 */ `"\u0041" = true`,
	}, "\n")
	lines, deep := keyLines(text)
	if deep != 0 {
		t.Errorf("too deep at line %d", deep)
	}
	want := map[string]int{
		"top": 1, "text": 3, "raw": 7, "a b.c": 9, "a b.c x y": 10, `a b.c q"`: 11,
		"list": 12, "list #1": 12, "list #1 k": 13, "list #1 k #3 in": 14, "list #1 sub": 15, "list #1 sub k": 16,
		"list #2": 17, "list #2 k": 18, "list #2 k a": 18, "list #2 k a b": 18, "list #2 k c": 18,
		"list #2 more": 19, "list #2 more #1": 19, "list #2 more #2": 20, "list #2 more #2 A": 21,
	}
	for key, line := range want {
		if got := lines[strings.ReplaceAll(key, " ", "\x00")]; got != line {
			t.Errorf("%s is on line %d, want %d", key, got, line)
		}
	}
	for key := range lines {
		if key = strings.ReplaceAll(key, "\x00", " "); want[key] == 0 {
			t.Errorf("found %q, which is no key", key)
		}
	}
}

// TestTooDeep: also where the parser that finds the lines gives up.
func TestTooDeep(t *testing.T) {
	for text, want := range map[string]int{
		"a = " + strings.Repeat("[", 21) + strings.Repeat("]", 21):            1,
		"a = " + strings.Repeat("[", 20) + strings.Repeat("]", 20):            0,
		"x = 1\na = " + strings.Repeat("{a = ", 20) + strings.Repeat("}", 20): 0, // not TOML
		"\n" + strings.Repeat("a.", 20) + "a = 1":                             2,
		"\n" + strings.Repeat("a.", 19) + "a = 1":                             0,
		"x = 1\na = " + strings.Repeat("[", 1<<19):                            2,
		"x = 1\na = " + strings.Repeat("{a = ", 1<<17):                        2,
	} {
		if _, deep := keyLines(text); deep != want {
			t.Errorf("%.40q… is too deep at line %d, want %d", text, deep, want)
		}
	}
}
