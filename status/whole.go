package status

import "reflect"

// whole is a value in which each list that is nil is empty: a reader of the JSON never meets null
// where the API says there is a list. What it is given stays as it is; what needs no change is not
// copied.
func whole(value any) any {
	if value == nil {
		return nil
	}
	made, _ := wholeValue(reflect.ValueOf(value))
	return made.Interface()
}

// wholeValue also says whether it is another than v.
func wholeValue(v reflect.Value) (made reflect.Value, changed bool) {
	if !mayHoldList(v.Type()) {
		return v, false
	}
	made = v
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			return wholeValue(v.Elem())
		}
	case reflect.Pointer:
		if v.IsNil() {
			return v, false
		}
		if pointee, other := wholeValue(v.Elem()); other {
			made, changed = reflect.New(v.Type().Elem()), true
			made.Elem().Set(pointee)
		}
	case reflect.Slice:
		if v.IsNil() {
			return reflect.MakeSlice(v.Type(), 0, 0), true
		}
		if !mayHoldList(v.Type().Elem()) {
			return v, false
		}
		for i := range v.Len() {
			element, other := wholeValue(v.Index(i))
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
			element, _ = wholeValue(element)
			made.SetMapIndex(key, element)
		}
	default: // a struct
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			field, other := wholeValue(v.Field(i))
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

// mayHoldList tells the types that need a look; times and plain values are taken as they are.
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
