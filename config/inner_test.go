package config

import (
	"strings"
	"testing"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// shelf is a kind whose tables have named ones in them.
type shelf struct {
	Height int              `toml:"height"`
	Book   map[string]*book `toml:"book"`
}

type book struct {
	Title string `toml:"title"`
	Pages int    `toml:"pages" default:"10"`
}

func (b *book) Validate() error {
	if b.Title == "" {
		return &setting.Error{Key: "title", Value: b.Title, Allowed: "a title"}
	}
	if b.Pages < 1 {
		return &setting.Error{Key: "pages", Value: b.Pages, Allowed: "a number from 1"}
	}
	return nil
}

func (s *shelf) Validate() error {
	if len(s.Book) > 2 {
		return &setting.Error{Key: "book", Value: len(s.Book), Allowed: "up to 2 books"}
	}
	return nil
}
func (s *shelf) Identity(func(string) string) string          { return "shelf" }
func (s *shelf) New(registry.Deps) (registry.Registry, error) { return nil, nil } //nolint:nilnil // nobody calls it
func (s *shelf) Lacks(key string) string {
	if key == "author" || strings.Contains(key, "*") {
		return "a shelf knows no authors"
	}
	return ""
}

func withShelf() Kinds {
	k := twoKinds()
	k.Registries = append(k.Registries, registry.Kind{Name: "shelf", Config: func() registry.Config { return &shelf{Height: 1} }})
	return k
}

func TestNamedTablesOfAKind(t *testing.T) {
	text := `
[[registry]]
address = "left"

[[registry]]
type = "shelf"
[registry.book.b]
title = "B"
pages = 3
[registry.book.a]
title = "A"

[[registry]]
type = "shelf"
name = "two"
book = { c = { title = "C" } }
`
	set := []string{"registry.2.book.d.title=D", "registry.4.book.e.title=E", "registry.4.type=shelf", "registry.4.name=four", `registry.4.book."f.g".title=F`}
	c, err := withShelf().parse("f", strings.Replace(text, "pages = 3\n[registry.book.a]\ntitle = \"A\"", "", 1), nil, set, anyFile)
	if err != nil {
		t.Fatal(err)
	}
	shown := c.TOML()
	for _, want := range []string{
		"[registry.book.b]\ntitle = \"B\"\npages = 10\n", "[registry.book.c]\ntitle = \"C\"\n", "[registry.book.d]\ntitle = \"D\"\n", "[registry.book.\"f.g\"]\ntitle = \"F\"\n",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("it lacks\n%s", want)
		}
	}
	if again, err := withShelf().parse("f", shown, nil, nil, anyFile); err != nil || again.TOML() != shown {
		t.Errorf("what is shown does not load again: %v\n%s", err, shown)
	}
	if first, err := withShelf().parse("f", text, nil, nil, anyFile); err != nil || strings.Index(first.TOML(), "book.a]") > strings.Index(first.TOML(), "book.b]") {
		t.Errorf("they are not in order: %v", err)
	}
}

func TestWrongNamedTables(t *testing.T) {
	for _, test := range []struct{ name, text, override, want string }{
		{"a value of one", "type = \"shelf\"\n[registry.book.a]\ntitle = \"A\"\npages = 0", "", `f:5: registry.book.a.pages: 0 is not allowed; allowed is a number from 1`},
		{"one that is missing", "type = \"shelf\"\n\n[registry.book.a]\npages = 2", "", `f:4: registry.book.a.title: "" is not allowed; allowed is a title`},
		{"an empty table", "type = \"shelf\"\n\n[registry.book.a]", "", `f:4: registry.book.a.title: "" is not allowed; allowed is a title`},
		{"an unknown key", "type = \"shelf\"\n[registry.book.a]\ntitle = \"A\"\npagse = 1", "", `f:5: registry.book.a.pagse: unknown key; did you mean pages?`},
		{"a type", "type = \"shelf\"\n[registry.book.a]\ntitle = 3", "", `f:4: registry.book.a.title: found a whole number; allowed is a string, in quotes`},
		{"a key with a reason of its own", "type = \"shelf\"\nauthor = \"x\"", "", `f:3: registry.author: unknown key; a shelf knows no authors`},
		{"the same within one", "type = \"shelf\"\n[registry.book.a]\ntitle = \"A\"\nauthor = \"x\"", "", `f:5: registry.book.a.author: unknown key; a shelf knows no authors`},
		{"a name", "type = \"shelf\"\n[registry.book.\"a;b\"]\ntitle = \"A\"", "", `f:3: registry.book."a;b": the name has characters other than letters, digits, _ . - or begins with . or -`},
		{"a name with a reason of its own", "type = \"shelf\"\n[registry.book.\"a*\"]\ntitle = \"A\"", "", `f:3: registry.book."a*": a shelf knows no authors`},
		{"no table", "type = \"shelf\"\nbook = 3", "", `f:3: registry.book: found a whole number; allowed are tables that begin with [registry.book.NAME]`},
		{"no named table", "type = \"shelf\"\nbook.a = 3", "", `f:3: registry.book.a: found a whole number; allowed is a table that begins with [registry.book.NAME]`},
		{"of another type", "type = \"left\"\n[registry.book.a]\ntitle = \"A\"", "", `f:3: registry.book.a: unknown key; a registry of type "shelf" has it, this one is of type "left"`},
		{"too many", "type = \"shelf\"\n[registry.book.a]\ntitle = \"A\"\n[registry.book.b]\ntitle = \"B\"\n[registry.book.c]\ntitle = \"C\"", "", `f:7: registry.book: 3 is not allowed; allowed is up to 2 books`},
		{"on the command line", "type = \"shelf\"", "registry.book.a.pages=0", `command line: registry.book.a.title: "" is not allowed; allowed is a title`},
		{"too deep", "type = \"shelf\"", "registry.book.a=0", `command line: "registry.book.a": unknown key; did you mean registry.book?`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var set []string
			if test.override != "" {
				set = []string{test.override}
			}
			_, err := withShelf().parse("f", "[[registry]]\n"+test.text, nil, set, anyFile)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
