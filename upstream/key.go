package upstream

import "cmp"

// Key identifies an upstream as nginx does: it is the name with ASCII letters in lower case. Maps of upstreams use it
// as their key.
type Key string

// KeyOf returns the key of a name. It does not allocate for a name in lower case.
func KeyOf(name string) Key {
	for i := range len(name) {
		if isUpper(name[i]) {
			return folded(name, i)
		}
	}
	return Key(name)
}

// folded returns the key of a name whose letters before from are in lower case.
func folded(name string, from int) Key {
	key := []byte(name)
	for i := from; i < len(key); i++ {
		key[i] = lower(key[i])
	}
	return Key(key)
}

// SameName reports whether two names have the same key, so that they can't coexist.
func SameName(a, b string) bool { return len(a) == len(b) && CompareNames(a, b) == 0 }

// CompareNames orders names by their keys, without allocating them.
func CompareNames(a, b string) int {
	if a == b { // often the same string, which is cheap to see
		return 0
	}
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] { // names of one fleet often share a prefix
			continue
		}
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
