package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"swallowkeeper/dyups"
	"swallowkeeper/gateway"
	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// left and right are kinds that have keys of one name.
type left struct {
	Address string   `toml:"address"`
	Pass    []string `toml:"pass" secret:"true"`
	Depth   int      `toml:"depth"`
}

func (c *left) Validate() error {
	if c.Address == "nowhere" {
		return &setting.Error{Key: "address", Value: c.Address, Allowed: "a place"}
	}
	if len(c.Pass) > 0 && c.Pass[0] == "short" {
		return &setting.Error{Key: "pass", Value: c.Pass, Allowed: "long words"}
	}
	return nil
}
func (c *left) Identity(func(string) string) string          { return "left@" + c.Address }
func (c *left) New(registry.Deps) (registry.Registry, error) { return nil, nil } //nolint:nilnil // nobody calls it

type right struct {
	Address []string      `toml:"address"`
	Every   time.Duration `toml:"every"`
	CA      string        `toml:"ca" file:"true"`
}

func (c *right) Validate() error                              { return nil }
func (c *right) Identity(func(string) string) string          { return "right@" + strings.Join(c.Address, "/") }
func (c *right) New(registry.Deps) (registry.Registry, error) { return nil, nil } //nolint:nilnil // nobody calls it

func twoKinds() Kinds {
	return Kinds{
		Registries: []registry.Kind{
			{Name: "left", Config: func() registry.Config { return &left{Address: "here"} }},
			{Name: "right", Config: func() registry.Config { return &right{Address: []string{"there"}} }},
		},
		Gateways: []gateway.Kind{dyups.Kind()},
	}
}

// TestKindsDoNotTouch: what a table says lands in the configuration of its own type, wherever the type stands.
func TestKindsDoNotTouch(t *testing.T) {
	text := `
[[registry]]
address = "left"

[[registry]]
address = ["a", "b"]
type    = "right"
name    = "two"
`
	c, err := twoKinds().parse("f", text, nil, []string{"registry.3.type=right", "registry.3.address=c", "registry.4.address=d"}, anyFile)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Registries {
		got = append(got, r.Type+" "+r.Config.Identity(nil))
	}
	if want := "left left@left, right right@a/b, right right@c, left left@d"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	if again, err := twoKinds().parse("f", c.TOML(), nil, nil, anyFile); err != nil || again.TOML() != c.TOML() {
		t.Errorf("what is shown does not load again: %v\n%s", err, cmp.Diff(c.TOML(), again.TOML()))
	}
	if c.Registries[1].Title(nil) != "two" || c.Registries[2].Title(nil) != "right@c" {
		t.Errorf("they are called %s and %s", c.Registries[1].Title(nil), c.Registries[2].Title(nil))
	}
}

func TestTypes(t *testing.T) {
	for _, test := range []struct {
		name, text     string
		env, overrides []string
		want           string
	}{
		{
			"no such type", "type = \"zookeeper\"\nhosts = \"a\"\nnames = \"any\"", nil, nil,
			`f:2: registry.type: "zookeeper" is not allowed; allowed is "left" or "right"`,
		},
		{
			"a typing error", `type = "rihgt"`, nil, nil,
			`f:2: registry.type: "rihgt" is not allowed; allowed is "left" or "right"; did you mean "right"?`,
		},
		{"no text", `type = 3`, nil, nil, `f:2: registry.type: found a whole number; allowed is a string, in quotes`},
		{"an empty one", `type = ""`, nil, nil, `f:2: registry.type: "" is not allowed; allowed is "left" or "right"`},
		{
			"a key of another type", "type = \"right\"\ndepth = 3", nil, nil,
			`f:3: registry.depth: unknown key; a registry of type "left" has it, this one is of type "right"`,
		},
		{
			"a key of another type, the type last", "every = \"3s\"",
			[]string{"SWALLOWKEEPER_REGISTRY_TYPE=left"},
			nil,
			`f:2: registry.every: unknown key; a registry of type "right" has it, this one is of type "left"`,
		},
		{
			"a variable of another type", "",
			[]string{"SWALLOWKEEPER_REGISTRY_EVERY=3s"},
			nil,
			`SWALLOWKEEPER_REGISTRY_EVERY: registry.every: unknown key; a registry of type "right" has it, this one is of type "left"`,
		},
		{"the type of the last word counts", "type = \"zookeeper\"", []string{"SWALLOWKEEPER_REGISTRY_TYPE=left"}, []string{"registry.type=right", "registry.every=1s"}, ""},
		{
			"a key of nobody", "type = \"right\"\nevery_day = true", nil, nil,
			`f:3: registry.every_day: unknown key; allowed are address, ca, every, name, names, routes or type`,
		},
		{"a wrong value", "address = \"nowhere\"", nil, nil, `f:2: registry.address: "nowhere" is not allowed; allowed is a place`},
		{
			"a file that is missing", "type = \"right\"\nca = \"/none/ca.pem\"", nil, nil,
			`f:3: registry.ca: open /none/ca.pem: no such file or directory; allowed is a file that can be read`,
		},
		{"a wrong name", `name = "a, b"`, nil, nil, `f:2: registry.name: "a, b" is not allowed; allowed is up to 200 letters, digits and @ _ . / : [ ] -`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := twoKinds().parse("f", "[[registry]]\n"+test.text, test.env, test.overrides, canRead)
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

// hush is a secret.
const hush = "hushhush-hushhush"

// TestNobodyIsShownASecret: neither what is printed nor an error has one, of any kind.
func TestNobodyIsShownASecret(t *testing.T) {
	two := twoKinds()
	every := Kinds{Registries: append(two.Registries, known.Registries...), Gateways: known.Gateways}
	tried := 0
	for _, s := range every.sections() {
		types := every.types(s.name)
		if len(types) == 0 {
			types = []string{""}
		}
		for _, typ := range types {
			b := builder{kinds: every, cfg: every.Default()}
			b.cfg.Routes = []Route{defaultRoute()}
			of := b.table(place{section: s.name, n: 1})
			switch s.name {
			case "registry":
				r := every.registry(typ)
				of = &r
			case "gateway":
				g := every.gateway(typ)
				of = &g
			}
			for _, f := range fields(of) {
				if looksSecret(f.key) && !f.secret() {
					t.Errorf("%s of %s %q lacks the tag secret", f.key, s.name, typ)
				}
				if !f.secret() {
					continue
				}
				tried++
				set := []string{s.name + "." + f.key + "=" + hush}
				if typ != "" {
					set = append(set, s.name+".type="+typ)
				}
				c, err := every.parse("f", "", nil, set, anyFile)
				if err != nil {
					t.Errorf("%s: %v", f.key, err)
				} else if text := c.TOML(); strings.Contains(text, hush) || !strings.Contains(text, `= "(set)"`) {
					t.Errorf("%s of %s %q is shown, or not said to be set:\n%s", f.key, s.name, typ, text)
				}
				for _, bad := range []string{
					`"` + hush + `\u0000"`, `["` + hush + `", 1]`, `["short", "` + hush + `"]`, `{ a = "` + hush + `" }`, hush, `"` + hush, `'` + hush + `' x`,
				} {
					header := s.header() + "\n"
					if typ != "" {
						header += "type = \"" + typ + "\"\n"
					}
					if _, err := every.parse("f", header+f.key+" = "+bad, nil, nil, anyFile); err != nil && strings.Contains(err.Error(), hush) {
						t.Errorf("%s = %s: the error shows it: %v", f.key, bad, err)
					}
					if _, err := every.parse("f", "", nil, append(set, s.name+"."+f.key+"=[\""+hush), anyFile); err != nil && strings.Contains(err.Error(), hush) {
						t.Errorf("%s: the error of the command line shows it: %v", f.key, err)
					}
				}
			}
		}
	}
	if tried < 3 {
		t.Errorf("%d secrets were found", tried)
	}
}

// looksSecret tells the keys that are called like a secret.
func looksSecret(key string) bool {
	if strings.HasSuffix(key, "_file") {
		return false
	}
	for _, word := range []string{"token", "password", "secret", "credential"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// TestOldConfigurations: files of versions before this one load as they did.
func TestOldConfigurations(t *testing.T) {
	for _, path := range files(t, "testdata/old/*.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := load(path, none, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(path, ".toml") + ".want")
			if err != nil {
				t.Fatal(err)
			}
			// Keys of a table may stand in another order, and there may be more of them.
			shown := strings.Split(c.TOML(), "\n\n")
			for i, block := range strings.Split(strings.TrimSpace(string(want)), "\n\n") {
				for line := range strings.SplitSeq(block, "\n") {
					if i >= len(shown) || !strings.Contains("\n"+shown[i]+"\n", "\n"+line+"\n") {
						t.Errorf("table %d has no more: %s", i+1, line)
					}
				}
			}
		})
	}
}

// TestExamplesInDocs: what a page shows as a configuration is one.
func TestExamplesInDocs(t *testing.T) {
	blocks := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	seen := 0
	for _, page := range slices.Concat(files(t, "../docs/*.md"), files(t, "../docs/*/*.md"), files(t, "../*.md")) {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range blocks.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(m[1], "[[upstream]]") || strings.HasPrefix(m[1], "# /etc/swallowkeeper-agent.toml\n") {
				continue // a file of the registry that reads files, or the agent's own
			}
			seen++
			if _, err := known.parse(page, m[1], nil, nil, anyFile); err != nil {
				t.Errorf("%v\n%s", err, m[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d examples were found", seen)
	}
}
