package operate

import "testing"

func TestPrintable(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"":                       "",
		`plain, "quoted" 中文 a\b`: `plain, "quoted" 中文 a\b`,
		"a\x1b[2J\nb":            `a\x1b[2J\nb`,
		"\u202ereversed\u2028":   `\u202ereversed\u2028`,
		"\xff\ufffd":             `\xff�`,
		"\u009b31m":              `\u009b31m`,
	} {
		got := Printable(given)
		if got != want {
			t.Errorf("%q is printed as %s, want %s", given, got, want)
		}
		if again := Printable(got); again != got {
			t.Errorf("%s becomes %s", got, again)
		}
	}
}
