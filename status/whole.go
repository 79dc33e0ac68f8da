package status

import (
	"net/http"
	"reflect"

	"swallowkeeper/reason"
)

// whole prepares a value for JSON: nil lists become empty, so that a client never gets null for a list, and reasons are
// rendered in the language. It does not modify value, and copies only what changes.
func whole(value any, language string) any {
	if value == nil {
		return nil
	}
	made, _ := wholeValue(reflect.ValueOf(value), language)
	return made.Interface()
}

// language returns the language for the reasons in an answer: English, unless the request asks for another known one.
func language(r *http.Request) string {
	if r.URL.Query().Get("lang") == reason.Chinese {
		return reason.Chinese
	}
	return reason.English
}

var reasonType = reflect.TypeFor[reason.Reason]()

// wholeValue also reports whether the result differs from v.
func wholeValue(v reflect.Value, language string) (made reflect.Value, changed bool) {
	if !mayChange(v.Type(), language) {
		return v, false
	}
	if why, is := reflect.TypeAssert[reason.Reason](v); is {
		return reflect.ValueOf(reason.Text(why.In(language))), true
	}
	made = v
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			return wholeValue(v.Elem(), language)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return v, false
		}
		if pointee, other := wholeValue(v.Elem(), language); other {
			made, changed = reflect.New(v.Type().Elem()), true
			made.Elem().Set(pointee)
		}
	case reflect.Slice:
		if v.IsNil() {
			return reflect.MakeSlice(v.Type(), 0, 0), true
		}
		if !mayChange(v.Type().Elem(), language) {
			return v, false
		}
		for i := range v.Len() {
			element, other := wholeValue(v.Index(i), language)
			if other && !changed {
				made, changed = reflect.MakeSlice(v.Type(), v.Len(), v.Len()), true
				reflect.Copy(made, v)
			}
			if other {
				made.Index(i).Set(element)
			}
		}
	case reflect.Map:
		made, changed = reflect.MakeMapWithSize(v.Type(), v.Len()), true
		for key, element := range v.Seq2() {
			element, _ = wholeValue(element, language)
			made.SetMapIndex(key, element)
		}
	default: // a struct
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			field, other := wholeValue(v.Field(i), language)
			if other && !changed {
				made, changed = reflect.New(v.Type()).Elem(), true
				made.Set(v)
			}
			if other {
				made.Field(i).Set(field)
			}
		}
	}
	return made, changed
}

// mayChange reports whether values of a type may need changes. Times and plain values do not, nor do reasons in
// English, which is their default encoding.
func mayChange(t reflect.Type, language string) bool {
	if t == reasonType {
		return language != reason.English
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface:
		return true
	case reflect.Pointer:
		return mayChange(t.Elem(), language)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && mayChange(f.Type, language) {
				return true
			}
		}
	}
	return false
}
