package config

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"swallowkeeper/internal/setting"
)

// TOML renders the configuration in effect, with every key and value, as a file that can be loaded again, except for
// secrets, which are shown as "(set)". An option for all upstreams is commented out if an upstream has the same name.
func (c Config) TOML() string {
	b := builder{cfg: c, named: map[string]*Upstream{}}
	for name, u := range c.Upstreams {
		b.named[name] = &u
	}
	var blocks []string
	block := func(header string, p place) {
		lines := []string{header}
		for _, f := range fields(b.table(p)) {
			line := f.key + " = " + f.show()
			if _, called := c.Upstreams[f.key]; called && p == (place{section: "upstream"}) {
				line = "# " + line // TOML can't express both
			}
			lines = append(lines, line)
		}
		blocks = append(blocks, strings.Join(lines, "\n")+"\n")
	}
	for _, s := range (Kinds{}).sections() {
		n, isList := b.length(s.name)
		for i := range n {
			p := place{section: s.name, n: i + 1}
			block(s.header(), p)
			for _, in := range b.places(p) {
				block("["+toml.Key{in.section, in.under, in.name}.String()+"]", in)
			}
		}
		if !isList {
			block(s.header(), place{section: s.name})
		}
		if s.named {
			for _, name := range slices.Sorted(maps.Keys(b.named)) {
				p := place{section: s.name, name: name, inside: true}
				block("["+p.path("")+"]", p)
			}
		}
	}
	return strings.Join(blocks, "\n")
}

// password matches the credentials in a URL.
var password = regexp.MustCompile(`://[^/@\s]+@`)

// show returns the value as written in a file.
func (f field) show() string {
	value := reflect.ValueOf(f.ptr).Elem().Interface()
	shown := literal(value)
	if f.secret() && shown != `""` && shown != "[]" {
		return `"(set)"`
	}
	return shown
}

// value returns the value as in JSON.
func (f field) value() any {
	value := reflect.ValueOf(f.ptr).Elem().Interface()
	if d, is := value.(time.Duration); is {
		return setting.FormatDuration(d)
	}
	return value
}

func literal(value any) string {
	switch v := value.(type) {
	case time.Duration:
		value = setting.FormatDuration(v)
	case []string:
		if len(v) == 0 {
			return "[]"
		}
	case string:
		value = password.ReplaceAllString(v, "://(set)@")
	}
	var line bytes.Buffer
	if err := toml.NewEncoder(&line).Encode(map[string]any{"v": value}); err != nil {
		return fmt.Sprintf("%q", fmt.Sprint(value))
	}
	return strings.TrimPrefix(strings.TrimSuffix(line.String(), "\n"), "v = ")
}

// notAllowed words a component's error.
func notAllowed(e *setting.Error, secret bool) string {
	if secret {
		return "the value is not allowed; allowed is " + e.Allowed
	}
	if e.Why != "" {
		return e.Why + "; allowed is " + e.Allowed
	}
	return fmt.Sprintf("%s is not allowed; allowed is %s", literal(e.Value), e.Allowed)
}

func copyValue(to, from any) { reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem()) }
