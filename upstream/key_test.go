package upstream

import (
	"strings"
	"testing"
	"testing/quick"
)

func TestKeyOf(t *testing.T) { // counts allocations: not beside others
	for name, want := range map[string]Key{
		"":                "",
		"a_b-c.0":         "a_b-c.0",
		"Orders":          "orders",
		"ordersV2":        "ordersv2",
		"[\\]@`{":         "[\\]@`{",         // beside the letters
		"\u212aÉ\xff\x00": "\u212aÉ\xff\x00", // nginx folds ASCII alone: the sign for Kelvin is no k
	} {
		if got := KeyOf(name); got != want {
			t.Errorf("the key of %q is %q, want %q", name, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { KeyOf("orders-of-a-service") }); n != 0 {
		t.Errorf("the key of a name in lower case costs %g allocations", n)
	}
}

// TestNamesAreComparedByTheirKeys holds the comparisons that make no key to those that do.
func TestNamesAreComparedByTheirKeys(t *testing.T) {
	t.Parallel()
	sameAsKeys := func(a, b string) bool {
		return CompareNames(a, b) == strings.Compare(string(KeyOf(a)), string(KeyOf(b))) &&
			SameName(a, b) == (KeyOf(a) == KeyOf(b)) && KeyOf(string(KeyOf(a))) == KeyOf(a)
	}
	for _, a := range []string{"", "a", "A", "aB", "Ab", "ab", "abc", "_", "B", "\xff", "\u212a", "k", "[", "z"} {
		for _, b := range []string{"", "a", "A", "aB", "Ab", "ab", "abC", "_", "b", "\xff", "\u212a", "K", "{", "Z"} {
			if !sameAsKeys(a, b) {
				t.Errorf("%q and %q", a, b)
			}
		}
	}
	if err := quick.Check(sameAsKeys, nil); err != nil {
		t.Error(err)
	}
}

func BenchmarkKeyOf(b *testing.B) {
	for _, name := range []string{"orders-of-a-service", "orders-of-a-Service"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				KeyOf(name)
			}
		})
		b.Run("strings.ToLower "+name, func(b *testing.B) {
			for b.Loop() {
				strings.ToLower(name)
			}
		})
	}
}
