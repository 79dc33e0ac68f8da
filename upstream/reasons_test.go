package upstream_test

import (
	"testing"

	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

// The reason of a generation is written in English, and read as what was said. What others wrote stays as it is.
func TestReadReason(t *testing.T) {
	changes := upstream.Changes{
		Added:   []upstream.Upstream{up("a"), up("b"), up("c"), up("d"), up("e")},
		Updated: []upstream.Update{{New: up("f")}},
		Removed: []upstream.Upstream{up("g"), up("h")},
	}
	for _, c := range []struct {
		why    reason.Reason
		en, zh string
	}{
		{changes.Reason(), "added a, b, c, 2 more; changed f; removed g, h", "新增 a, b, c, 2 more; 变更 f; 移除 g, h"},
		{upstream.Changes{Removed: changes.Removed}.Reason(), "removed g, h", "移除 g, h"},
		{upstream.RolledBack(12), "rolled back to generation 12", "已回滚到第 12 代"},
		{upstream.Changes{}.Reason(), "", ""},
	} {
		read := upstream.ReadReason(c.why.String())
		if c.why.String() != c.en || read != c.why || read.In(reason.Chinese) != c.zh {
			t.Errorf("%q is read as %q, %q", c.why, read, read.In(reason.Chinese))
		}
	}
	for _, line := range []string{
		"an operator's own words", "added a; and then some", "changed", "2 added, 0 updated, 0 removed", "; ", "removed a;removed b", "added by hand", "rolled back to generation x y", "added a; ", " added a",
	} {
		if read := upstream.ReadReason(line); read != reason.Text(line) {
			t.Errorf("%q is read as %q", line, read.In(reason.Chinese))
		}
	}
}
