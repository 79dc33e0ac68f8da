package persist_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/persist"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Routes stand in the file, in one or in shards, and come back as they were; a change of routes alone is a change.
func TestRoutesAreInTheFile(t *testing.T) {
	for _, above := range []string{"1MB", "1KB"} {
		t.Run(above, func(t *testing.T) {
			list := slices.Collect(set(40, 2).All())
			for i := range list {
				r, err := route.Registered(fmt.Sprintf("shop.example/%d/{id:[0-9]{1,3}}/* strip methods=GET auth=/auth", i), list[i].Name, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Origin = "consul one@127.0.0.1:8500"
				list[i].Routes = []route.Route{r}
			}
			path := filepath.Join(t.TempDir(), "dyups.conf")
			f := sharded(t, path, above)
			want := save(t, f, upstream.NewSet(list))
			if got := load(t, f); !got.Set.Equal(want.Set) || got.Set.RouteCount() != 40 {
				t.Fatalf("%d of %d routes came back", got.Set.RouteCount(), want.Set.RouteCount())
			}
			read, edited, err := persist.Read(path)
			if err != nil || edited || !read.Set.Equal(want.Set) {
				t.Errorf("read %v, edited %t, %v", read.Set.RouteCount(), edited, err)
			}
			if above == "1MB" {
				line := "\n    # route shop.example/0/{id:[0-9]{1,3}}/* methods=GET strip=/0 auth=/auth from=consul%20one@127.0.0.1:8500\n"
				if file := text(t, path); !strings.Contains(file, line) {
					t.Errorf("no %q in\n%s", line, file)
				}
			}
			list[7].Routes = nil
			if next := save(t, f, upstream.NewSet(list)); next.Number == want.Number {
				t.Error("a change of a route made no generation")
			}
			if got := load(t, f); got.Set.RouteCount() != 39 {
				t.Errorf("%d routes are left", got.Set.RouteCount())
			}
		})
	}
}

func sharded(t *testing.T, path, above string) *persist.File {
	t.Helper()
	cfg := persist.DefaultConfig()
	cfg.Path, cfg.ShardAbove = path, above
	log, _ := test.NewNullLogger()
	f, err := persist.Open(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
