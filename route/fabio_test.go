package route_test

import (
	"strings"
	"testing"

	"swallowkeeper/route"
)

func TestFabio(t *testing.T) {
	for tag, want := range map[string]string{
		"urlprefix-/foo":                                 "/foo/*",
		"urlprefix-/foo/":                                "/foo/*",
		"urlprefix-Shop.example/foo strip=/foo":          "shop.example/foo/* strip=/foo",
		"urlprefix-shop.example/":                        "shop.example/*",
		"urlprefix-shop.example/a/b strip=/a proto=http": "shop.example/a/b/* strip=/a",
		"urlprefix-/":                                    "a route of every host and path",
		"urlprefix-/foo proto=https":                     `route option "proto"`,
		"urlprefix-/foo weight=0.5":                      `route option "weight"`,
		"urlprefix-:1234 proto=tcp":                      `route "urlprefix-:1234 proto=tcp": write HOST/PATH`,
		"urlprefix-*.example/foo":                        `no wildcard is allowed`,
		"urlprefix-shop.example:80/foo":                  `no port is allowed`,
		"urlprefix-/foo;bar":                             `';' is not allowed in a path`,
		"urlprefix-":                                     `write HOST/PATH`,
		"urlprefix-/foo strip=/f":                        `strip "/f": path "/foo/*" does not begin with it`,
		"urlprefix-/" + strings.Repeat("x", 600):         `at most 512 are allowed`,
	} {
		r, is, err := route.Fabio(tag, "web")
		got := r.Text()
		if err != nil {
			got = err.Error()
		}
		if !is || !strings.Contains(got, want) || err == nil && got != want {
			t.Errorf("%s: %s, want %s", tag, got, want)
		}
	}
	for _, tag := range []string{"web", "", "URLPREFIX-/foo", "traefik.enable=true"} {
		if _, is, err := route.Fabio(tag, "web"); is || err != nil {
			t.Errorf("%s is one: %v", tag, err)
		}
	}
	routes, bad := route.FromTags([]string{"web", "urlprefix-/a", "urlprefix-/;", "urlprefix-/b"}, "web")
	if len(routes) != 2 || len(bad) != 1 || bad[0].Text != "urlprefix-/;" {
		t.Errorf("got %v, %v", routes, bad)
	}
}
