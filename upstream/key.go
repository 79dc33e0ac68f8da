package upstream

import "cmp"

// Key is what nginx tells upstreams apart by: the name, whose ASCII letters mean the same in either case. Maps of
// upstreams have it as their key.
type Key string

// KeyOf returns the key of a name. A name in lower case is its own, without a copy.
func KeyOf(name string) Key {
	for i := range len(name) {
		if isUpper(name[i]) {
			return folded(name, i)
		}
	}
	return Key(name)
}

// folded is the key of a name whose letters before from are lower.
func folded(name string, from int) Key {
	key := []byte(name)
	for i := from; i < len(key); i++ {
		key[i] = lower(key[i])
	}
	return Key(key)
}

// SameName reports whether two names have one key, so that only one of them can be there.
func SameName(a, b string) bool { return len(a) == len(b) && CompareNames(a, b) == 0 }

// CompareNames orders names by their keys, without making any.
func CompareNames(a, b string) int {
	if a == b { // mostly one string, which is seen at once
		return 0
	}
	for i := range min(len(a), len(b)) {
		if c := cmp.Compare(lower(a[i]), lower(b[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if isUpper(c) {
		return c + 'a' - 'A'
	}
	return c
}

func isUpper(c byte) bool { return c-'A' < 26 }
