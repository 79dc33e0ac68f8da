package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"swallowkeeper/internal/setting"
)

// text is a value that does not come from the file. It has no type until its key is known.
type text string

// field is a key of a table, with a pointer to its value and its tag.
type field struct {
	key string
	ptr any
	tag reflect.StructTag
}

// every calls f for each key of a table. Fields without a key, such as Registry.Config, contribute their own keys.
func every(table any, f func(key string, v reflect.Value, tag reflect.StructTag)) {
	v := reflect.ValueOf(table).Elem()
	for i := range v.NumField() {
		of := v.Type().Field(i)
		key, tagged := of.Tag.Lookup("toml")
		switch {
		case key == "-":
		case tagged:
			f(key, v.Field(i), of.Tag)
		case of.Type.Kind() != reflect.Interface:
			every(v.Field(i).Addr().Interface(), f)
		case !v.Field(i).IsNil():
			every(v.Field(i).Interface(), f)
		}
	}
}

// fields returns the keys of a table, except those of named tables.
func fields(table any) []field {
	var list []field
	every(table, func(key string, v reflect.Value, tag reflect.StructTag) {
		if v.Kind() != reflect.Map {
			list = append(list, field{key, v.Addr().Interface(), tag})
		}
	})
	return list
}

func fieldOf(table any, key string) (field, bool) {
	for _, f := range fields(table) {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

func keys(table any) []string {
	var list []string
	every(table, func(key string, _ reflect.Value, _ reflect.StructTag) { list = append(list, key) })
	return list
}

// secret reports whether the value must never be shown.
func (f field) secret() bool { return f.tag.Get("secret") != "" }

// set sets the field to a value. It returns the problem if the value is invalid.
func (f field) set(value any) (problem string) {
	given := ""
	t, isText := value.(text)
	if isText {
		if !utf8.ValidString(string(t)) {
			return "the value is not UTF-8"
		}
		value, given = f.native(string(t)), string(t)
	}
	if f.assign(value) {
		return ""
	}
	if isText && f.secret() {
		return "the value is not allowed; allowed is " + strings.TrimSuffix(f.allowed(), inQuotes)
	}
	if isText {
		return fmt.Sprintf("%q is not allowed; allowed is %s", given, strings.TrimSuffix(f.allowed(), inQuotes))
	}
	if d, ok := value.(string); ok && f.kind() == "duration" {
		return fmt.Sprintf("%q is not allowed; allowed is %s", d, f.allowed())
	}
	if _, ok := f.ptr.(*time.Duration); ok && number(value) {
		return "a bare number has no unit; allowed is " + f.allowed()
	}
	return fmt.Sprintf("found %s; allowed is %s", describe(value), f.allowed())
}

// assign sets the field to a value as decoded from TOML.
func (f field) assign(value any) (ok bool) {
	switch p := f.ptr.(type) {
	case *string:
		if b, is := value.(bool); is && f.tag.Get("bool") != "" {
			*p = strconv.FormatBool(b)
			return true
		}
		*p, ok = or(value, *p)
	case *bool:
		*p, ok = or(value, *p)
	case *int:
		var n int64
		if n, ok = value.(int64); ok && int64(int(n)) == n {
			*p = int(n)
			return true
		}
		return false
	case *float64:
		x, isFloat := value.(float64)
		if n, isInt := value.(int64); isInt {
			x, isFloat = float64(n), true
		}
		if isFloat && !math.IsNaN(x) && !math.IsInf(x, 0) {
			*p, ok = x, true
		}
	case *time.Duration:
		s, _ := value.(string)
		if d, err := setting.ParseDuration(s); err == nil {
			*p, ok = d, true
		}
	case *[]string:
		var list []string
		if list, ok = stringList(value); ok {
			*p = list
		}
	}
	return ok
}

// native converts text to what decoding TOML would have given, or returns it unchanged if that fails.
func (f field) native(s string) any {
	var v any
	var err error
	switch f.ptr.(type) {
	case *bool:
		if s != "true" && s != "false" {
			return text(s)
		}
		v = s == "true"
	case *int:
		v, err = strconv.ParseInt(s, 10, 64)
	case *float64:
		v, err = strconv.ParseFloat(s, 64)
	case *[]string:
		v, err = splitList(s)
	default:
		v = s
	}
	if err != nil {
		return text(s)
	}
	return v
}

// splitList splits a list written as a,b or as in a file: ["a", "b"].
func splitList(s string) (any, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "[") {
		var doc map[string]any
		if _, err := toml.Decode("list = "+s, &doc); err != nil || len(doc) != 1 {
			return nil, fmt.Errorf("read a list: %w", err)
		}
		return doc["list"], nil
	}
	list := []any{}
	for part := range strings.SplitSeq(s, ",") {
		if s != "" {
			list = append(list, strings.TrimSpace(part))
		}
	}
	return list, nil
}

func stringList(value any) ([]string, bool) {
	items, ok := value.([]any)
	list := make([]string, len(items))
	for i, item := range items {
		s, isString := item.(string)
		list[i], ok = s, ok && isString
	}
	return list, ok
}

func or[T any](value any, old T) (T, bool) {
	if v, ok := value.(T); ok {
		return v, true
	}
	return old, false
}

// kind returns the field's type in an operator's terms.
func (f field) kind() string {
	switch f.ptr.(type) {
	case *string:
		return "string"
	case *bool:
		return "boolean"
	case *int:
		return "whole number"
	case *float64:
		return "number"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list of strings"
	}
	panic(fmt.Sprintf("config: the key %s has type %T, which nobody can set", f.key, f.ptr))
}

const inQuotes = ", in quotes" // only in a file

func (f field) allowed() string {
	switch kind := f.kind(); kind {
	case "boolean":
		return "true or false"
	case "duration":
		return `a duration such as "3s" or "1m30s"` + inQuotes
	case "list of strings":
		return `a list of strings such as ["a", "b"]`
	case "string":
		return "a string" + inQuotes
	default:
		return "a " + kind
	}
}

func number(value any) bool {
	switch value.(type) {
	case int64, float64:
		return true
	}
	return false
}

// describe names the type of a value, not the value, which may be a misplaced secret.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a whole number"
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return "a number with a fraction"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	case []any:
		if _, ok := stringList(v); ok {
			return "a list of strings"
		}
		return "a list with something else than strings"
	case time.Time:
		return "a date or time"
	}
	return fmt.Sprintf("%T", value)
}
