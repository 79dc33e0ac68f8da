package route_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"swallowkeeper/route"
)

// TestOverlaps: of two paths with classes at one place the one that takes less comes first, two that take the same are one, and
// of two that overlap neither comes first.
func TestOverlaps(t *testing.T) {
	const first, same, ambiguous, apart = "the first", "the same", "ambiguous", "apart"
	for _, tt := range []struct{ a, b, want string }{
		{"/{x:[0-9]+}", "/{x:[0-9a-f]+}", first},
		{"/{x:[a-c]+}", "/{x:[0-9a-z]+}", first}, // though it stands behind it in the alphabet
		{"/{x:[a-z]{2}}", "/{x:[a-z]{2,4}}", first},
		{"/{x:[a-z]{2,4}}", "/{x:[a-z]+}", first},
		{"/{x:[a-c]{2}}", "/{x:[a-z]+}", first},
		{"/{x:[a-z]+}", "/{x}", first},
		{"/a", "/{x:[a-z]+}", first},
		{"/{x:[a-c]+}/{y}", "/{x:[a-z]+}/b", first},
		{"/{x:[0-9a-f]+}", "/{y:[a-f0-9]+}", same},
		{"/{x:[a-c]{1}}/z", "/{y:[abc]{1}}/z", same},
		{"/{x:[a-c]+}", "/{x:[b-d]+}", ambiguous},
		{"/{x:[a-z]{1,3}}", "/{x:[a-z]{2,5}}", ambiguous},
		{"/{x:[a-c]+}", "/{x:[a-z]{2}}", ambiguous},
		{"/{x:[a-c]+}/y", "/{x:[b-d]+}/{y}", ambiguous},
		{"/{x:[a-c]+}/*", "/{x:[b-d]+}/{y}", ambiguous},
		{"/v/{x:[0-9]+}/{y:[a-c]+}", "/v/{x:[0-9]+}/{y:[b-d]+}", ambiguous},
		{"/{x:[a-c]+}/y", "/{x:[b-d]+}/z", apart},
		{"/{x:[a-c]+}/y", "/{x:[b-d]+}", apart},
		{"/{x:[a-c]+}", "/{x:[d-f]+}", apart},
		{"/{x:[a-z]{1,2}}", "/{x:[a-z]{3}}", apart},
		{"h/{x:[a-c]+}", "/{x:[b-d]+}", apart},
		{"/{x:[a-c]+} methods=GET", "/{x:[b-d]+}", ambiguous},
		{"/{x:[a-c]+} methods=GET", "/{x:[b-d]+} methods=POST", apart},
	} {
		two := of(tt.a, tt.b)
		for _, p := range [][2]route.Route{{two[0].Route, two[1].Route}, {two[1].Route, two[0].Route}} {
			if got := p[0].Ambiguous(p[1]); got != (tt.want == ambiguous) {
				t.Errorf("%s and %s are ambiguous: %t", p[0].Path, p[1].Path, got)
			}
			if got := p[0].Claim() == p[1].Claim(); got != (tt.want == same) {
				t.Errorf("%s and %s are the same: %t", p[0].Path, p[1].Path, got)
			}
			if (tt.want == same || tt.want == ambiguous) && p[0].Arena() != p[1].Arena() {
				t.Errorf("nobody sees that %s and %s can't both be there", p[0].Path, p[1].Path)
			}
		}
		if tt.want == first && route.Compare(two[0].Route, two[1].Route) >= 0 {
			t.Errorf("%s does not come before %s", tt.a, tt.b)
		}
	}
}

// TestOverlapsByTheirPaths holds the rules to what patterns take: of random ones, over random paths.
func TestOverlapsByTheirPaths(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // it shall be the same each time
	segments := []string{"a", "b", "{v}", "{v:[ab]+}", "{v:[bc]+}", "{v:[a-c]{1,2}}", "{v:[a]+}", "{v:[a-c]{2}}"}
	pattern := func() route.Pattern {
		text := ""
		for i := range 1 + random.IntN(3) {
			text += "/" + strings.ReplaceAll(segments[random.IntN(len(segments))], "v", fmt.Sprint("v", i))
		}
		if random.IntN(4) == 0 {
			text += "/*"
		}
		p, err := route.ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	words := []string{"a", "b", "c", "aa", "ab", "bc", "cc", "abc", "x", ""}
	var paths []string
	for _, one := range words {
		for _, two := range append(words, "-") {
			path := "/" + one + "/" + two
			paths = append(paths, strings.TrimSuffix(path, "/-"), path+"/a", path+"/ab/c")
		}
	}
	for range 3000 {
		p, o := pattern(), pattern()
		both, onlyO := false, false
		for _, path := range paths {
			_, one := p.Match(path)
			_, two := o.Match(path)
			both, onlyO = both || one && two, onlyO || two && !one
		}
		switch {
		case both && !p.Meets(o):
			t.Fatalf("%s and %s are said to have no path in common", p, o)
		case onlyO && p.Includes(o):
			t.Fatalf("%s is said to take all of %s", p, o)
		case p.Ambiguous(o) && (p.Includes(o) || o.Includes(p)):
			t.Fatalf("%s and %s are said to be ambiguous", p, o)
		case both && onlyO && p.Shape() != o.Shape() && !p.Ambiguous(o) && o.Includes(p) &&
			route.Compare(route.Route{Path: p.String()}, route.Route{Path: o.String()}) > 0:
			t.Fatalf("%s takes less than %s and comes behind it", p, o)
		}
	}
}
