package consultest_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// testNodeServices reads what nodes have, all of it and none of it.
func testNodeServices(t *testing.T, s *suite) {
	for _, id := range []string{"b", "a", "c"} {
		s.catalogRegister(t, catalogReg("svc-"+id, "has-node", id, "passing"))
	}
	s.catalogRegister(t, catalogReg("svc-a", "has-other", "a", "passing"))
	for _, tt := range []struct{ node, filter, want string }{
		{"has-node", "", "a=svc-a b=svc-b c=svc-c"},
		{"HAS-node", "", "a=svc-a b=svc-b c=svc-c"},
		{"has-other", "", "a=svc-a"},
		{"has-node", `ID == "-"`, ""},
		{"has-node", `ID == "b"`, "b=svc-b"},
		{"has-node", `ID != "b"`, "a=svc-a c=svc-c"},
	} {
		list, meta, err := s.Catalog().NodeServiceList(tt.node, &api.QueryOptions{Filter: tt.filter})
		must(t, err)
		var got []string
		for _, i := range list.Services {
			got = append(got, i.ID+"="+i.Service)
			if i.ModifyIndex == 0 || i.ModifyIndex > meta.LastIndex {
				t.Errorf("%s has the index %d, its node %d", i.ID, i.ModifyIndex, meta.LastIndex)
			}
		}
		equal(t, tt.node+" "+tt.filter, strings.Join(got, " "), tt.want)
		if !strings.EqualFold(list.Node.Node, tt.node) || list.Node.ModifyIndex == 0 {
			t.Errorf("the node of %s is %+v", tt.node, list.Node)
		}
	}
	for _, tt := range []struct{ path, at, keys string }{
		{"has-node", "", "Node Services"},
		{"has-node", "Node", "Address CreateIndex Datacenter ID Meta ModifyIndex Node TaggedAddresses"},
		{"has-node", "Services", "Address Connect CreateIndex EnableTagOverride ID Meta ModifyIndex PeerName Port Proxy " +
			"Service Tags Weights"},
		{"has-node?filter=" + url.QueryEscape(`ID == "-"`), "Services", "[]"},
		{"never-was", "Services", "null"},
		{"never-was", "Node", "null"},
	} {
		_, body := s.do(t, "GET", "/v1/catalog/node-services/"+tt.path, "")
		var all map[string]json.RawMessage
		must(t, json.Unmarshal([]byte(body), &all))
		text := []byte(body)
		if tt.at != "" {
			text = all[tt.at]
		}
		var list []json.RawMessage
		if json.Unmarshal(text, &list) == nil && len(list) > 0 {
			text = list[0]
		}
		got := string(text)
		var object map[string]json.RawMessage
		if json.Unmarshal(text, &object) == nil && object != nil {
			got = strings.Join(slices.Sorted(maps.Keys(object)), " ")
		}
		equal(t, tt.path+" "+tt.at, got, tt.keys)
	}
	// What comes and goes on one node is none of another's.
	_, meta, err := s.Catalog().NodeServiceList("has-other", nil)
	must(t, err)
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "has-node", ServiceID: "a"})
	_, after, err := s.Catalog().NodeServiceList("has-other", nil)
	must(t, err)
	equal(t, "the other's index", after.LastIndex, meta.LastIndex)
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "has-node"})
	s.catalogDeregister(t, &api.CatalogDeregistration{Node: "has-other"})
	_, gone, err := s.Catalog().NodeServiceList("has-other", nil)
	must(t, err)
	if gone.LastIndex <= after.LastIndex {
		t.Errorf("the index of a node that went is %d, before %d", gone.LastIndex, after.LastIndex)
	}
}
