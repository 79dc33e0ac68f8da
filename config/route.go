package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/reason"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// Route is a [[route]] table: which requests go to an upstream. It takes precedence over registrations.
type Route struct {
	// Name identifies the route; "" means its host and path.
	Name string `toml:"name"`
	// Host is the host of the requests; "" means any.
	Host string `toml:"host"`
	// Methods are the methods of the requests; empty means any.
	Methods []string `toml:"methods"`
	// Path is the path pattern.
	Path string `toml:"path"`
	// Upstream is the upstream that gets the requests.
	Upstream string `toml:"upstream"`
	// Strip is removed from the path; "true" means everything before the pattern's variables.
	Strip string `toml:"strip" bool:"true"`
	// Rewrite is the path requested from the upstream, with variables of Path.
	Rewrite string `toml:"rewrite"`
	// Timeout is the limit for an answer; 0 means the gateway's default.
	Timeout time.Duration `toml:"timeout"`
	// Auth is the path that authorizes each request.
	Auth string `toml:"auth"`
	// WebSocket allows WebSocket connections.
	WebSocket bool `toml:"websocket"`
}

func defaultRoute() Route { return Route{WebSocket: true} }

// allowedIn describes the valid values of each key.
var allowedIn = map[string]string{
	"name":     "letters, digits and _ . -, beginning with none of . and -",
	"host":     `a host name in lower case, without a port, such as "shop.example", or "" for any`,
	"methods":  "a list of " + inOrder(route.Methods()),
	"path":     `a path such as "/orders", "/orders/{id:[0-9]+}", "/orders/{rest...}" or "/orders/*"`,
	"upstream": "the name of an upstream: letters, digits and _ . -, beginning with none of . and -",
	"strip":    `whole segments that path begins with, such as "/orders", true for all of them, or ""`,
	"rewrite":  `a path with variables of path by their names, such as "/v2/items/{id}", or "" beside strip`,
	"timeout":  `a duration from "1ms" to "1h", or "0s"`,
	"auth":     `a path of the gateway's own such as "/auth", an upstream and a path such as "auth/verify", or ""`,
}

// keyOf returns the key that a reason of package route is about.
func keyOf(code string) string {
	for _, key := range []string{"name", "host", "method", "strip", "rewrite", "timeout", "auth"} {
		if strings.HasPrefix(code, "route-"+key) {
			if key == "method" {
				return "methods"
			}
			return key
		}
	}
	return "path"
}

// Validate returns a *setting.Error for the first key with an invalid value. Missing keys are reported by the builder.
func (r Route) Validate() error {
	if r.Upstream != "" {
		if err := upstream.ValidName(r.Upstream); err != nil {
			return &setting.Error{Key: "upstream", Value: r.Upstream, Allowed: allowedIn["upstream"], Why: err.Error()}
		}
	}
	judged := r
	if judged.Path == "" {
		judged.Path, judged.Strip, judged.Rewrite = "/", "", ""
	}
	_, err := judged.route()
	if err == nil {
		return nil
	}
	key := keyOf(reason.Of(err).Code())
	values := map[string]any{
		"name": r.Name, "host": r.Host, "methods": r.Methods, "path": r.Path, "strip": r.Strip, "rewrite": r.Rewrite,
		"timeout": r.Timeout, "auth": r.Auth,
	}
	return &setting.Error{Key: key, Value: values[key], Allowed: allowedIn[key], Why: err.Error()}
}

// route converts the table.
func (r Route) route() (route.Route, error) {
	made := route.Route{
		Name: r.Name, Host: r.Host, Methods: slices.Sorted(slices.Values(r.Methods)), Path: r.Path, Rewrite: r.Rewrite,
		Timeout: r.Timeout, Auth: r.Auth, NoWebSocket: !r.WebSocket,
	}
	if err := made.SetStrip(r.Strip); err != nil {
		return made, err
	}
	return made, made.Valid(r.Upstream)
}

// Routing returns the [[route]] tables in the form for routing.
func (c Config) Routing() []route.Belonging {
	var all []route.Belonging
	for _, r := range c.Routes {
		made, err := r.route()
		if err == nil { // always, because the configuration was validated
			all = append(all, route.Belonging{Route: made, Upstream: r.Upstream})
		}
	}
	return all
}

// routes reports missing keys, and conflicts between [[route]] tables.
func (b *builder) routes() {
	names := map[string]int{}
	var before []route.Route
	var at []int
	for i, r := range b.cfg.Routes {
		p := place{section: "route", n: i + 1}
		for _, needed := range []struct{ key, value string }{{"path", r.Path}, {"upstream", r.Upstream}} {
			if _, set := b.from[spot{p, needed.key}]; needed.value == "" && !b.refused[p] {
				what := "is missing"
				if set {
					what = `"" is not allowed`
				}
				b.wrong(b.source(p, needed.key), what+"; allowed is "+allowedIn[needed.key])
			}
		}
		if b.refused[p] {
			continue
		}
		if r.Name != "" {
			b.unique(p, "name", r.Name, names)
		}
		made, err := r.route()
		if err != nil {
			b.wrong(b.source(p, ""), err.Error())
			continue
		}
		if j := slices.IndexFunc(before, made.Contends); j >= 0 {
			b.wrong(b.source(p, "path"), fmt.Sprintf("route %d takes the same requests (%s); allowed is another host, path or method",
				at[j], strings.TrimSpace(made.MethodList()+" "+made.Where())))
			continue
		}
		if j := slices.IndexFunc(before, made.Ambiguous); j >= 0 {
			b.wrong(b.source(p, "path"), fmt.Sprintf("some requests are of it (%s) and of route %d (%s), and neither is the more special; "+
				"allowed is a class that has all of the other one's, or none", made.Where(), at[j], before[j].Where()))
			continue
		}
		before, at = append(before, made), append(at, i+1)
	}
}
