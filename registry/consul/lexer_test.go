package consul

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// lexed takes an answer apart as a node is read: its index, and what it has.
func lexed(body string) (uint64, map[string]int, error) {
	has := map[string]int{}
	own, err := readNodeServices(newLexer(strings.NewReader(body)), func(service, id, index []byte) {
		has[fmt.Sprintf("%s %s %d", service, id, binary.BigEndian.Uint64(index))]++
	})
	return own, has, err
}

func TestReadNodeServices(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, test := range []struct {
		name, body string
		own        uint64
		has        string
		bad        bool
	}{
		{"none", `{"Node":null,"Services":null}`, 0, "", false},
		{"empty", `{"Node":{"ModifyIndex":7},"Services":[]}`, 7, "", false},
		{"one", `{"Node":{"ModifyIndex":7},"Services":[{"ID":"a","Service":"web","ModifyIndex":9}]}`, 7, "web a 9", false},
		{"nested keys do not count", `{"Node":{"Meta":{"ModifyIndex":"1"},"ModifyIndex":7},"Services":[{"Meta":{"ID":"no","Service":"no"},` +
			`"Tags":["ID","]","}"],"Proxy":{"Upstreams":[{"ID":"x"}]},"ID":"a","Service":"web","ModifyIndex":9}]}`, 7, "web a 9", false},
		{"pretty", "{\n  \"Services\": [\n    {\n \"ID\": \"a\",\n \"Service\": \"web\", \"ModifyIndex\": 9\n}\n]\n}\n", 0, "web a 9", false},
		{"escapes", `{"Services":[{"ID":"a\\","Service":"w\u0065b","ModifyIndex":9,"Address":"\\\\\""}]}`, 0, `web a\\ 9`, false},
		{"long texts", `{"Services":[{"Notes":"` + long + `","ID":"a","Service":"web","ModifyIndex":9}]}`, 0, "web a 9", false},
		{"cut", `{"Services":[{"ID":"a","Service":"web","Modify`, 0, "", true},
		{"cut after an instance", `{"Services":[{"ID":"a","Service":"web","ModifyIndex":9}`, 0, "", true},
		{"no index", `{"Services":[{"ID":"a","Service":"web"}]}`, 0, "", true},
		{"no ID", `{"Services":[{"Service":"web","ModifyIndex":9}]}`, 0, "", true},
		{"an index that is none", `{"Services":[{"ID":"a","Service":"web","ModifyIndex":"9"}]}`, 0, "", true},
		{"a list", `[]`, 0, "", true},
		{"nothing", ``, 0, "", true},
		{"HTML", `<html>`, 0, "", true},
		{"too deep", `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 0, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			own, has, err := lexed(test.body)
			if (err != nil) != test.bad {
				t.Fatalf("error %v", err)
			}
			if test.bad {
				return
			}
			var got []string
			for name := range has {
				got = append(got, name)
			}
			if own != test.own || strings.Join(got, ",") != test.has {
				t.Errorf("index %d, %q; want %d, %q", own, got, test.own, test.has)
			}
		})
	}
}

// TestSumServices is the same for lists that say the same, in whatever order, and for no others.
func TestSumServices(t *testing.T) {
	seed := maphash.MakeSeed()
	sum := func(body string) uint64 {
		n, err := sumServices(newLexer(strings.NewReader(body)), seed)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return n
	}
	list := sum(`{"web":["a","b"],"api":[]}`)
	for _, same := range []string{`{"api":[],"web":["b","a"]}`, "{\n \"web\": [ \"a\", \"b\" ],\n \"api\": []\n}\n"} {
		if sum(same) != list {
			t.Errorf("%s differs", same)
		}
	}
	for _, other := range []string{
		`{}`, `{"web":["a"],"api":[]}`, `{"web":["a","b"]}`, `{"web":["a"],"api":["b"]}`, `{"web":[],"api":["a","b"]}`,
		`{"web":["a","b"],"ap":[],"i":[]}`, `{"web":["ab"],"api":[]}`,
	} {
		if sum(other) == list {
			t.Errorf("%s is the same", other)
		}
	}
	for _, bad := range []string{``, `[`, `{"web"`, `{"web":["a"`, `{"web":{}}`, `{"web":[1]}`} {
		if _, err := sumServices(newLexer(strings.NewReader(bad)), seed); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzReadNodeServices finds what the official client finds in whatever that takes for an answer.
func FuzzReadNodeServices(f *testing.F) {
	f.Add(`{"Node":{"Node":"n","ModifyIndex":7},"Services":[{"ID":"a","Service":"w\u0065b","Tags":["x"],"ModifyIndex":9}]}`)
	f.Add(`{"Node":null,"Services":[{"ID":"\\","Service":"","Meta":{"ID":"b"},"ModifyIndex":1},{"ID":"b","Service":"c","ModifyIndex":2}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		own, has, err := lexed(body)
		if err != nil {
			return
		}
		var list api.CatalogNodeServiceList
		if json.Unmarshal([]byte(body), &list) != nil {
			return
		}
		want := map[string]int{}
		for _, s := range list.Services {
			raw, err := json.Marshal(s.ID)
			if err != nil || strings.ContainsRune(body, '\\') || s.ID == "" {
				return // an ID is compared as it was written
			}
			want[fmt.Sprintf("%s %s %d", s.Service, strings.Trim(string(raw), `"`), s.ModifyIndex)]++
		}
		if keys(body) {
			return
		}
		if list.Node != nil && own != list.Node.ModifyIndex || !maps.Equal(has, want) {
			t.Errorf("index %d, %v; want %v", own, has, want)
		}
	})
}

// keys tells whether a body has keys that encoding/json takes for those that it knows, or has one twice.
func keys(body string) bool {
	for _, key := range []string{"node", "services", "id", "service", "modifyindex"} {
		if n := strings.Count(strings.ToLower(body), `"`+key+`"`); n > strings.Count(body, `"`+map[string]string{
			"node": "Node", "services": "Services", "id": "ID", "service": "Service", "modifyindex": "ModifyIndex",
		}[key]+`"`) || n > 1 {
			return true
		}
	}
	return false
}
