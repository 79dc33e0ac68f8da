package upstream

import (
	"fmt"
	"slices"
)

// Merge joins what several registries published into one set in which every name
// stands once. Upstreams of one name and canary become one. Where names collide,
// the one already written stays and the newcomer is out, so that nobody can push a
// service out of nginx by registering a like name:
//
//	written    published            kept    out
//	web        web, Web             web     Web
//	a_b (b)    a_b, a canary b      a_b (b) service a_b
//	-          web, Web             Web     web       first in order of bytes
//	-          a_b, a canary b      a_b     a canary b
func Merge(written Set, parts ...Set) Set {
	if len(parts) == 1 && parts[0].distinct() {
		return parts[0]
	}
	joined := Join(parts...)
	out := joined.Out()

	var kept []Upstream
	for rest := joined.list; len(rest) > 0; {
		n := 1
		for n < len(rest) && SameName(rest[0].Name, rest[n].Name) {
			n++
		}
		rivals := rest[:n]
		rest = rest[n:]
		winner := choose(written, rivals)
		kept = append(kept, rivals[winner])
		for i, u := range rivals {
			if i != winner {
				out = append(out, Out{
					Service: u.Name, Upstream: u.Name,
					Reason: fmt.Sprintf("its name collides with %s, which is already in use", describe(rivals[winner])),
				})
			}
		}
	}
	return build(kept, out)
}

func choose(written Set, rivals []Upstream) int {
	if old, ok := written.Get(rivals[0].Name); ok {
		same := func(u Upstream) bool { return u.Name == old.Name && u.Canary == old.Canary }
		if i := slices.IndexFunc(rivals, same); i >= 0 {
			return i
		}
	}
	return 0
}

func (s Set) distinct() bool {
	for i := 1; i < len(s.list); i++ {
		if SameName(s.list[i-1].Name, s.list[i].Name) {
			return false
		}
	}
	return true
}

func describe(u Upstream) string {
	if u.Canary != "" {
		return fmt.Sprintf("upstream %s (canary %s)", u.Name, u.Canary)
	}
	return "upstream " + u.Name
}
