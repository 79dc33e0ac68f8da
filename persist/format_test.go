package persist

import (
	"slices"
	"testing"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/internal/nginxconf"
)

func FuzzParse(f *testing.F) {
	g := generation.Generation{Number: 3, Time: time.Unix(1, 5), Digest: "00", Leaving: []string{"a", "b"}, Strangers: []string{"c", "d"}}
	g.Signed = generation.Signature{By: "alice", Why: "deploy 42"}
	g.Frozen = []generation.Freeze{{Name: "a", Until: time.Unix(2, 3), Signed: g.Signed}, {Signed: generation.Signature{By: "uid 1000"}}}
	f.Add(renderHeader(g, "", nil))
	g.Digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // of nothing
	f.Add(renderHeader(g, "", nil))
	g.Notes, g.Guard = 7, []string{"sum 00"}
	f.Add(append(renderHeader(g, "", nil), "upstream a {\n    server 10.0.0.1:1 weight=1 max_fails=1 fail_timeout=1s; # x\n}\n"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parse(text, nil)
		if err != nil {
			return
		}
		again := renderHeader(g.Generation, "", nil)
		for u := range g.Set.All() {
			again = nginxconf.AppendBlock(again, u)
		}
		same, err := parse(again, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		if same.Number != g.Number || !same.Time.Equal(g.Time) || !same.Set.Identical(g.Set) || len(same.Leaving) != len(g.Leaving) ||
			!slices.Equal(same.Strangers, g.Strangers) || same.Signed != g.Signed || same.Notes != g.Notes || !slices.Equal(same.Guard, g.Guard) || !slices.Equal(same.Frozen, g.Frozen) {
			t.Fatalf("got %+v, want %+v", same, g)
		}
	})
}
