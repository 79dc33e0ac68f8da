package safetext_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"swallowkeeper/internal/safetext"
)

const hostile = "a\x1b[2J\r\n\u202eb\u2066\u009b31m\u2028\x00\u200b\ufeff\xff\x7fc"

func TestTexts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 200)
	cut := func(most int) func(string) string {
		return func(s string) string { return safetext.Cut(s, most) }
	}
	runes := func(most int) func(string) string {
		return func(s string) string { return safetext.Runes(s, most) }
	}
	for _, tt := range []struct {
		name        string
		f           func(string) string
		given, want string
	}{
		{"line: nothing", safetext.Line, "", ""},
		{"line: plain", safetext.Line, `plain, "quoted" 中文 a\b`, `plain, "quoted" 中文 a\b`},
		{"line: hostile", safetext.Line, hostile, `a\x1b[2J\r\n\u202eb\u2066\u009b31m\u2028\x00\u200b\ufeff\xff\x7fc`},
		{"line: no UTF-8, and a replacement character", safetext.Line, "\xff\ufffd", `\xff�`},
		{"line: a colour", safetext.Line, "\x1b[31mred", `\x1b[31mred`},

		{"screen: our lines and colours", safetext.Screen, "\x1b[1;31mred\x1b[0m\ntwo", "\x1b[1;31mred\x1b[0m\ntwo"},
		{"screen: what is no colour", safetext.Screen, "\x1b[2J\x1b]0;x\x07\x1b[31\x1b[?25l\r", `\x1b[2J\x1b]0;x\a\x1b[31\x1b[?25l\r`},
		{"screen: hostile", safetext.Screen, hostile, `a\x1b[2J\r` + "\n" + `\u202eb\u2066\u009b31m\u2028\x00\u200b\ufeff\xff\x7fc`},

		{"one line: plain", safetext.OneLine, "a  b", "a  b"},
		{"one line: lines", safetext.OneLine, "\na\n}\r\nb\n", "a } b"},
		{"one line: hostile", safetext.OneLine, hostile, "a [2J b 31m c"},
		{"words: lines", safetext.Words, "503\r\n\tOutput:  <h1>no</h1>\n", "503 Output: <h1>no</h1>"},
		{"words: hostile", safetext.Words, " " + hostile + " ", "a [2J b 31m c"},

		{"output: lines", safetext.Output, "\n a\n\tb \n", "a\n\tb"},
		{"output: hostile", safetext.Output, hostile, "a?[2J?\n?b??31m??????c"},

		{"quote: nothing", safetext.Quote, "", `""`},
		{"quote: plain", safetext.Quote, `a"b`, `"a\"b"`},
		{"quote: hostile", safetext.Quote, hostile, `"a\x1b[2J\r\n\u202eb\u2066\u009b31m\u2028\x00\u200b\ufeff\xff\x7fc"`},
		{"quote: as long as can be", safetext.Quote, long[:80], `"` + long[:80] + `"`},
		{"quote: longer", safetext.Quote, long, `"` + long[:80] + `"…`},
		{"quote: within a character", safetext.Quote, "x" + long, `"x` + long[:78] + `"…`},

		{"name: plain", safetext.Name, "a-B_0.9:80", "a-B_0.9:80"},
		{"name: none", safetext.Name, "", `""`},
		{"name: a space", safetext.Name, "a b", `"a b"`},
		{"name: hostile", safetext.Name, "a\u202e", `"a\u202e"`},
		{"name: not ASCII", safetext.Name, "é", `"é"`},
		{"name: long", safetext.Name, strings.Repeat("a", 81), `"` + strings.Repeat("a", 80) + `"…`},

		{"cut: as long as can be", cut(4), "éé", "éé"},
		{"cut: longer", cut(4), "ééé", "éé…"},
		{"cut: within a character", cut(5), "ééé", "éé…"},
		{"cut: twice", cut(5), "éé…", "éé…"},
		{"cut: no UTF-8", cut(5), strings.Repeat("\x80", 9), "\x80\x80\x80\x80\x80…"},
		{"cut: to nothing", cut(0), "é", "…"},
		{"cut: less than a character", cut(1), "é", "…"},

		{"runes: fewer", runes(3), "é\n", "é\n"},
		{"runes: more", runes(3), "éééé", "ééé"},
		{"runes: no UTF-8", runes(9), "a\xff\xfeb\xc3", "a\ufffdb\ufffd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.f(tt.given); got != tt.want {
				t.Errorf("%q becomes\n%q, want\n%q", tt.given, got, tt.want)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	line := `{"msg":"a\u001b` + "\u009b\u202e\U000e0001\u007f中" + `"}` + "\n"
	want := `{"msg":"a\u001b\u009b\u202e\udb40\udc01\u007f中"}` + "\n"
	if got := string(safetext.JSON([]byte(line))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	same := []byte(`{"msg":"plain"}` + "\n")
	if got := safetext.JSON(same); &got[0] != &same[0] {
		t.Error("a plain line is copied")
	}
}

// FuzzTexts holds every function to what the package promises, with any text.
func FuzzTexts(f *testing.F) {
	f.Add(hostile, 3)
	f.Add("\x1b[31mred\x1b[0m\n", 80)
	f.Add(strings.Repeat("é中😀", 60), 5)
	f.Add("\xe4\xb8…\x80\x80\x80\x80", 2)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = min(max(most, 0), 1000)
		printable := func(what, got, spared string) {
			t.Helper()
			if !utf8.ValidString(got) {
				t.Errorf("%s: %q becomes %q, which is no UTF-8", what, s, got)
			}
			for _, r := range got {
				if !unicode.IsPrint(r) && !strings.ContainsRune(spared, r) {
					t.Errorf("%s: %q becomes %q, which has %q", what, s, got, r)
				}
			}
		}
		idempotent := func(what string, f func(string) string, spared string) {
			t.Helper()
			got := f(s)
			printable(what, got, spared)
			if again := f(got); again != got {
				t.Errorf("%s: %q becomes %q, then %q", what, s, got, again)
			}
		}
		idempotent("Line", safetext.Line, "")
		idempotent("OneLine", safetext.OneLine, "")
		idempotent("Words", safetext.Words, "")
		idempotent("Output", safetext.Output, "\n\t")
		idempotent("Screen", safetext.Screen, "\n\x1b")
		for i, r := range safetext.Screen(s) {
			if rest := safetext.Screen(s)[i:]; r == '\x1b' && strings.TrimLeft(rest[2:], "0123456789;")[0] != 'm' {
				t.Errorf("Screen: %q is let through", rest)
			}
		}
		if words := safetext.Words(s); strings.Join(strings.Fields(words), " ") != words {
			t.Errorf("Words: %q", words)
		}
		for what, got := range map[string]string{"Quote": safetext.Quote(s), "Name": safetext.Name(s)} {
			printable(what, got, "")
			if len(got) > 10*80 {
				t.Errorf("%s has %d bytes", what, len(got))
			}
		}

		got := safetext.Cut(s, most)
		switch {
		case len(s) <= most && got != s:
			t.Errorf("Cut: %q becomes %q", s, got)
		case len(s) > most && (len(got) > most+len("…") || !strings.HasPrefix(s, strings.TrimSuffix(got, "…"))):
			t.Errorf("Cut: %q becomes %q, at most %d bytes", s, got, most)
		case utf8.ValidString(s) && !utf8.ValidString(got):
			t.Errorf("Cut: %q becomes %q, which is no UTF-8", s, got)
		case utf8.ValidString(s) && safetext.Cut(got, most) != got:
			t.Errorf("Cut: %q becomes %q, then %q", s, got, safetext.Cut(got, most))
		}
		if got := safetext.Runes(s, most); !utf8.ValidString(got) || utf8.RuneCountInString(got) > most {
			t.Errorf("Runes: %q becomes %q, at most %d", s, got, most)
		}

		line, err := json.Marshal(map[string]string{"msg": s})
		if err != nil {
			t.Fatal(err)
		}
		safe := safetext.JSON(line)
		printable("JSON", string(safe), "\n")
		var want, have map[string]string
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &have); err != nil || have["msg"] != want["msg"] {
			t.Errorf("JSON: %q says %q: %v", safe, have["msg"], err)
		}
	})
}
