package generation

import (
	"testing"

	"swallowkeeper/upstream"
)

func TestScope(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, words string
		want        Scope
		covers, not []string
	}{
		{"*", "everything", Everything, []string{"web", "Web", "everything", "api"}, nil},
		{"web", "upstream web", "web", []string{"web", "Web"}, []string{"api", "web2", ""}},
		{"everything", "upstream everything", "everything", []string{"Everything"}, []string{"web"}},
		{"all", "upstream all", "all", []string{"all"}, []string{"web"}},
	} {
		s, err := ParseScope(tt.text)
		if err != nil || s != tt.want || s.String() != tt.text || s.Words() != tt.words || s.Valid() != nil {
			t.Errorf("%q is %q, written %s, called %s: %v, %v", tt.text, string(s), s, s.Words(), err, s.Valid())
		}
		for _, name := range tt.covers {
			if !s.Covers(name) {
				t.Errorf("%s does not cover %q", s, name)
			}
		}
		for _, name := range tt.not {
			if s.Covers(name) {
				t.Errorf("%s covers %q", s, name)
			}
		}
	}
	if s, err := ParseScope(""); err == nil {
		t.Errorf("no name is %s", s.Words())
	}
	if upstream.ValidName(EverythingText) == nil {
		t.Error("an upstream can be called as everything is")
	}
	if Scope("a\nb").Valid() == nil {
		t.Error("a name with a line break is valid")
	}
}
