package generation_test

import (
	"strings"
	"testing"

	"swallowkeeper/generation"
)

func TestSigner(t *testing.T) {
	for name, want := range map[string]string{
		"alice":                  "alice",
		`CORP\alice@example.org`: `CORP\alice@example.org`,
		"张三":                     "张三",
		"uid 1000":               "uid 1000",
		"a: b":                   "a_ b",
		"a\nb\x1b[31m\u202e":     "a_b__31m_",
		"\xff":                   "_",
		"":                       generation.Unknown,
		"  ":                     generation.Unknown,
		strings.Repeat("ä", 100): strings.Repeat("ä", 32),
	} {
		got := generation.Signer(name)
		if got != want {
			t.Errorf("Signer(%q) is %q, want %q", name, got, want)
		}
		if again := generation.Signer(got); again != got {
			t.Errorf("Signer(%q) is %q", got, again)
		}
	}
}

func TestSignaturesAreReadAsTheyAreWritten(t *testing.T) {
	for _, s := range []generation.Signature{
		{By: "alice"},
		{By: "uid 1000", Why: "deploy 42"},
		{By: "token ci", Why: "a: b until by c: d"},
		{By: "alice", Why: strings.Repeat("x", generation.MaxWhy)},
		{By: "alice", Why: "为了部署 # ; {}"},
	} {
		if err := s.Valid(); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
		if got, err := generation.ParseSignature(s.String()); err != nil || got != s {
			t.Errorf("%q is read as %+v, %v", s, got, err)
		}
	}
	for name, why := range map[string]string{
		"too long": strings.Repeat("x", generation.MaxWhy+1), "two lines": "a\nb", "a carriage return": "a\rb", "an escape": "a\x1b[31mb",
		"no UTF-8": "a\xffb", "turned around": "a\u202eb", "a line of Unicode": "a\u2028b", "a space behind": "a ", "a tab": "a\tb",
	} {
		if generation.ValidWhy(why) == nil {
			t.Errorf("%s: %q passes", name, why)
		}
		if _, err := generation.ParseSignature("alice: " + why); err == nil {
			t.Errorf("%s: %q is read", name, why)
		}
	}
	for _, text := range []string{"", ": why", " alice", "a\x00b", strings.Repeat("a", 65)} {
		if s, err := generation.ParseSignature(text); err == nil {
			t.Errorf("%q is read as %+v", text, s)
		}
	}
}
