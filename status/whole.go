package status

import "reflect"

// whole is a copy of a value in which each list that is nil is empty: a reader of the JSON never
// meets null where the API says there is a list. What it is given stays as it is.
func whole(value any) any {
	if value == nil {
		return nil
	}
	return wholeValue(reflect.ValueOf(value)).Interface()
}

func wholeValue(v reflect.Value) reflect.Value {
	if !mayHoldList(v.Type()) {
		return v
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return v
		}
		if v.Kind() == reflect.Interface {
			return wholeValue(v.Elem())
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(wholeValue(v.Elem()))
		return out
	case reflect.Slice:
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(wholeValue(v.Index(i)))
		}
		return out
	case reflect.Map:
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for key, element := range v.Seq2() {
			out.SetMapIndex(key, wholeValue(element))
		}
		return out
	default: // a struct
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(wholeValue(v.Field(i)))
			}
		}
		return out
	}
}

// mayHoldList tells the types that need a look; times and plain values are copied as they are.
func mayHoldList(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Interface:
		return true
	case reflect.Pointer:
		return mayHoldList(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && mayHoldList(f.Type) {
				return true
			}
		}
	}
	return false
}
