package route_test

import (
	"strings"
	"testing"
	"time"

	"swallowkeeper/route"
)

func TestValid(t *testing.T) {
	at := func(path string) route.Route { return route.Route{Path: path} }
	for _, tt := range []struct {
		name string
		r    route.Route
		want string // "" is valid
	}{
		{"exact", at("/web"), ""},
		{"the root alone", at("/"), ""},
		{"everything", at("/*"), ""},
		{"a slash at the end", at("/web/"), ""},
		{"all characters", at("/aZ09-._~!&()+,=:@"), ""},
		{"below", at("/api/*"), ""},
		{"variables", at("/orders/{id:[0-9]+}/items/{item}"), ""},
		{"counted", at("/{id:[a-zA-Z0-9._~-]{2,8}}/{year:[0-9]{4}}"), ""},
		{"the rest", at("/files/{rest...}"), ""},

		{"no path", at(""), `path "": it does not begin with /`},
		{"no slash", at("orders"), `path "orders": it does not begin with /`},
		{"semicolon", at("/a;b"), `path "/a;b": ';' is not allowed in a path`},
		{"dollar", at("/a$x"), `path "/a$x": '$' is not allowed in a path`},
		{"hash", at("/a#b"), `path "/a#b": '#' is not allowed in a path`},
		{"single quote", at("/a'b"), `path "/a'b": '\'' is not allowed in a path`},
		{"double quote", at(`/a"b`), `path "/a\"b": '"' is not allowed in a path`},
		{"backslash", at(`/a\b`), `path "/a\\b": '\\' is not allowed in a path`},
		{"space", at("/a b"), `path "/a b": ' ' is not allowed in a path`},
		{"line", at("/a\nb"), `path "/a\nb": '\n' is not allowed in a path`},
		{"escape", at("/a%20b"), `path "/a%20b": '%' is not allowed in a path`},
		{"query", at("/a?b"), `path "/a?b": '?' is not allowed in a path`},
		{"other letters", at("/ä"), `path "/ä": 'ä' is not allowed in a path`},
		{"no text", at("/\xff"), `path "/\xff": '�' is not allowed in a path`},
		{"dots", at("/x/../y"), `path "/x/../y": ".." is not allowed as a segment`},
		{"dot", at("/x/."), `path "/x/.": "." is not allowed as a segment`},
		{"slashes", at("/a//b"), `path "/a//b": // is not allowed in a path`},
		{"slashes alone", at("//"), `path "//": // is not allowed in a path`},
		{"long", at("/" + strings.Repeat("a", 599)), `it has 600 bytes, at most 512 are allowed`},
		{"ours", at("/.swallowkeeper/generation"), `/.swallowkeeper is where gateways answer to swallowkeeper`},
		{"star within", at("/a/*/b"), `* is not its last segment`},
		{"star behind text", at("/api*"), `'*' is allowed as the last segment alone, as in /api/*`},
		{"two variables", at("/{a}{b}"), `variable "{a}" is not a whole segment`},
		{"text before a variable", at("/v{n}"), `a brace is allowed around a whole segment alone, as in /orders/{id}`},
		{"open", at("/{id"), `a variable has no closing brace`},
		{"twice", at("/{id}/{id}"), `variable id is there twice`},
		{"rest within", at("/{rest...}/x"), `{rest...} is not its last segment`},
		{"no name", at("/{}"), `"" is no name for a variable`},
		{"a number", at("/{1}"), `"1" is no name for a variable`},
		{"an expression", at("/{id:(a+)+}"), `"(a+)+" is no character class with a quantifier, such as [0-9]+`},
		{"any character", at("/{id:.*}"), `".*" is no character class`},
		{"negated", at("/{id:[^0-9]+}"), `"[^0-9]+" is no character class`},
		{"backwards", at("/{id:[9-0]+}"), `"[9-0]+" is no character class`},
		{"mixed", at("/{id:[A-z]+}"), `"[A-z]+" is no character class`},
		{"slash in a class", at("/{id:[/]+}"), `is no character class`},
		{"no quantifier", at("/{id:[0-9]}"), `is no character class`},
		{"none at all", at("/{id:[0-9]{0,3}}"), `is no character class`},
		{"a regular expression", at("~ ^/x"), `path "~ ^/x": it does not begin with /`},

		{"host", route.Route{Host: "shop.example.com", Path: "/"}, ""},
		{"upper host", route.Route{Host: "Shop.example", Path: "/"}, `host "Shop.example": write shop.example`},
		{"port", route.Route{Host: "shop.example:80", Path: "/"}, `host "shop.example:80": no port is allowed: a host is a name`},
		{"wildcard", route.Route{Host: "*.example", Path: "/"}, `host "*.example": no wildcard is allowed`},
		{"hostile host", route.Route{Host: "a;b", Path: "/"}, `host "a;b": it is no DNS name`},
		{"dots in a host", route.Route{Host: "a..b", Path: "/"}, `host "a..b": it is no DNS name`},

		{"methods", route.Route{Path: "/", Methods: []string{"GET", "POST"}}, ""},
		{"unknown method", route.Route{Path: "/", Methods: []string{"get"}}, `method "get": allowed are DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT`},
		{"method twice", route.Route{Path: "/", Methods: []string{"GET", "GET"}}, `methods "GET,GET": each once and in order`},

		{"strip", route.Route{Path: "/api/v1/*", Strip: "/api"}, ""},
		{"strip all", route.Route{Path: "/api", Strip: "/api"}, ""},
		{"strip another", route.Route{Path: "/api/*", Strip: "/ap"}, `strip "/ap": path "/api/*" does not begin with it, at most "/api" can be stripped`},
		{"strip a variable", route.Route{Path: "/api/{x}", Strip: "/api/{x}"}, `does not begin with it`},
		{"strip a line", route.Route{Path: "/api/*", Strip: "/api\n"}, `does not begin with it`},
		{"rewrite", route.Route{Path: "/orders/{id}/{rest...}", Rewrite: "/v2/{rest}/{id}"}, ""},
		{"rewrite and strip", route.Route{Path: "/a/*", Rewrite: "/b", Strip: "/a"}, `strip and rewrite can't both be there`},
		{"unknown variable", route.Route{Path: "/orders/{id}", Rewrite: "/{item}"}, `rewrite "/{item}": path "/orders/{id}" has no variable "{item}"`},
		{"query in a rewrite", route.Route{Path: "/a", Rewrite: "/b?c"}, `rewrite "/b?c": '?' is not allowed in a path`},
		{"dollar in a rewrite", route.Route{Path: "/a", Rewrite: "/$b"}, `'$' is not allowed`},
		{"class in a rewrite", route.Route{Path: "/{id}", Rewrite: "/{id:[0-9]+}"}, `variables stand in it by their names alone`},

		{"timeout", route.Route{Path: "/", Timeout: 1500 * time.Millisecond}, ""},
		{"long timeout", route.Route{Path: "/", Timeout: 2 * time.Hour}, `timeout 2h0m0s is not a whole number of milliseconds between 0s and 1h0m0s`},
		{"fine timeout", route.Route{Path: "/", Timeout: time.Microsecond}, `timeout 1µs is not a whole number`},

		{"auth", route.Route{Path: "/", Auth: "/auth"}, ""},
		{"auth by another", route.Route{Path: "/", Auth: "auth/verify"}, ""},
		{"auth by itself", route.Route{Path: "/", Auth: "WEB/verify"}, `auth "WEB/verify": an upstream can't be asked about its own requests`},
		{"auth of no form", route.Route{Path: "/", Auth: "auth"}, `auth "auth": it does not begin with /`},
		{"auth with a URL", route.Route{Path: "/", Auth: "http://a/b"}, `auth "http://a/b": it is neither a path such as /auth`},
		{"auth with a variable", route.Route{Path: "/", Auth: "/auth/*"}, `auth "/auth/*": no variable and no * is allowed`},
		{"hostile auth", route.Route{Path: "/", Auth: "/auth;"}, `';' is not allowed`},

		{"name", route.Route{Path: "/", Name: "order-items"}, ""},
		{"hostile name", route.Route{Path: "/", Name: "a b"}, `name "a b": letters, digits and _ . - are allowed`},
		{"sides", route.Route{Path: "/", Side: 1}, `instances disagree about it`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.r.Valid("web")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRegistered(t *testing.T) {
	for _, tt := range []struct {
		text   string
		beside map[string]string
		want   string // as text, or the error
	}{
		{"/web/*", nil, "/web/*"},
		{"Shop.Example.com/api/*", nil, "shop.example.com/api/*"},
		{"shop.example/", nil, "shop.example/"},
		{"shop.example/*", nil, "shop.example/*"},
		{"/web/*", map[string]string{"strip": "true"}, "/web/* strip=/web"},
		{"/web/* strip", nil, "/web/* strip=/web"},
		{"/web/v1/* strip=/web/", nil, "/web/v1/* strip=/web"},
		{"/web/* strip=false", nil, "/web/*"},
		{"/web/*", map[string]string{"methods": "post,GET", "auth": "/auth", "timeout": "2s", "websocket": "false"}, "/web/* methods=GET,POST timeout=2s auth=/auth websocket=false"},
		{"/web/{id} rewrite=/v2/{id}", nil, "/web/{id} rewrite=/v2/{id}"},

		{"", nil, `route "": write HOST/PATH or /PATH`},
		{"web", nil, `route "web": write HOST/PATH or /PATH`},
		{"/a;b", nil, `path "/a;b": ';' is not allowed in a path`},
		{"/x/../y", nil, `path "/x/../y": ".." is not allowed as a segment`},
		{"~ ^/x", nil, `route "~ ^/x": write HOST/PATH or /PATH`},
		{"/a%20b", nil, `path "/a%20b": '%' is not allowed in a path`},
		{"/" + strings.Repeat("x", 599), nil, "it has 600 bytes, at most 512 are allowed"},
		{"/*", nil, "a route of every host and path is taken from [[route]] of the configuration alone"},
		{"/{all...}", nil, "a route of every host and path"},
		{"/web/* strip=/x", nil, `strip "/x": path "/web/*" does not begin with it`},
		{"/{x} strip", nil, `strip: path "/{x}" has nothing before its variables`},
		{"/web/* proto=https", nil, `route option "proto": allowed are methods, strip, rewrite, timeout, auth, websocket`},
		{"/web/* from=me", nil, `route option "from": allowed are`},
		{"/web/* strip", map[string]string{"strip": "true"}, `route option "strip" is there twice`},
		{"/web/* websocket=maybe", nil, `route option websocket: "maybe" is not true or false`},
		{"/web/* timeout=2", nil, `route option timeout: "2" is not a time such as 2s`},
		{"/web/* methods=", nil, `route option methods: "" is not a list such as GET,POST`},
		{"/web/* auth=web/x", nil, `an upstream can't be asked about its own requests`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			r, err := route.Registered(tt.text, "web", tt.beside)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got the error %q, want %q", err, tt.want)
				}
				return
			}
			if r.Text() != tt.want {
				t.Errorf("got %s, want %s", r.Text(), tt.want)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	routes, bad := route.Labels(map[string]string{
		"swallowkeeper.name": "web", "swallowkeeper.router": "no", "other.route": "/no",
		"swallowkeeper.route": "shop.example/api/*", "swallowkeeper.route.strip": "true",
		"swallowkeeper.route.2": "/a;b", "swallowkeeper.route.3.auth": "/auth",
		"swallowkeeper.route.10": "/old/*", "swallowkeeper.route.10.methods": "GET",
	}, "swallowkeeper.", ".", "web")
	var got []string
	for _, r := range routes {
		got = append(got, r.Text())
	}
	if want := "shop.example/api/* strip=/api | /old/* methods=GET"; strings.Join(got, " | ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
	var why []string
	for _, b := range bad {
		why = append(why, b.Text+": "+b.Err.Error())
	}
	if len(bad) != 2 || !strings.Contains(why[0], `/a;b: path "/a;b": ';'`) || !strings.Contains(why[1], `swallowkeeper.route: route "": write HOST/PATH`) {
		t.Errorf("got %q", why)
	}
	meta, bad := route.Labels(map[string]string{"swallowkeeper-route": "/web/*", "swallowkeeper-route-strip": "/web", "swallowkeeper-route-2": "/x"}, "swallowkeeper-", "-", "web")
	if len(meta) != 2 || len(bad) != 0 || meta[0].Text() != "/web/* strip=/web" {
		t.Errorf("got %v, %v", meta, bad)
	}
}

// Whatever a registration says, a route that is taken is one line that reads back as it was, and has no text that means
// something to a gateway.
func FuzzRoute(f *testing.F) {
	for _, s := range []string{
		"shop.example/api/* strip methods=GET,POST auth=auth/verify timeout=2s websocket=false",
		"/orders/{id:[0-9]{1,8}}/{rest...} rewrite=/v2/{rest}/{id}", "/a;b", "/x/../y", "/a%20b", "/{a}{b}", "/{id:[^/]+}", "/a strip=/a\n}",
	} {
		f.Add(s, "consul")
	}
	f.Fuzz(func(t *testing.T, text, origin string) {
		r, err := route.Registered(text, "web", nil)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("the error %q has a control character", err)
			}
			return
		}
		r.Origin = origin
		line := r.Text()
		if strings.ContainsAny(line, "\n\r\t\"'\\;#$`<>") {
			t.Fatalf("%q may leave its line", line)
		}
		back, err := route.ParseText(line, "web")
		if err != nil || !back.Identical(r) {
			t.Errorf("%q came back as %+v, %v", line, back, err)
		}
	})
}
