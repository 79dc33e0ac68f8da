package route

import (
	"slices"
	"strings"

	"swallowkeeper/reason"
)

// Belonging is a route with its upstream.
type Belonging struct {
	Route    Route
	Upstream string
}

// Verdict is the result of matching a request against a route.
type Verdict struct {
	Belonging
	// Takes reports that the route takes the request.
	Takes bool
	// Why it does not.
	Why reason.Reason
	// To is the path sent to the upstream, if the route takes the request.
	To string
}

// Match tells which of the routes takes a request, and why each other one does not. The verdicts are in the order of
// [Compare], in which routes are tried. The path must be a result of [Normal].
func Match(routes []Belonging, method, host, path string) []Verdict {
	routes = slices.Clone(routes)
	slices.SortStableFunc(routes, func(a, b Belonging) int { return Compare(a.Route, b.Route) })
	host = HostOf(host)
	all := make([]Verdict, 0, len(routes))
	winner := ""
	for _, b := range routes {
		v := Verdict{Belonging: b}
		variables, why := b.Route.takes(method, host, path)
		switch {
		case !why.IsZero():
			v.Why = why
		case winner != "":
			v.Why = moreSpecial.With(winner)
		default:
			v.Takes, winner = true, b.Route.Where()
			v.To = b.Route.target(path, variables)
		}
		all = append(all, v)
	}
	return all
}

// takes returns the variables of a path that the route takes, or why it does not.
func (r Route) takes(method, host, path string) (map[string]string, reason.Reason) {
	if r.Host != "" && r.Host != host {
		return nil, otherHost.With(r.Host)
	}
	p, err := ParsePath(r.Path)
	if err != nil {
		return nil, reason.Of(err)
	}
	variables, is := p.Match(path)
	if !is {
		return nil, otherPath.With()
	}
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) && (method != "HEAD" || !slices.Contains(r.Methods, "GET")) {
		return nil, otherMethod.With(strings.Join(r.Methods, ", "))
	}
	return variables, reason.Reason{}
}

// target returns the path that is sent to the upstream.
func (r Route) target(path string, variables map[string]string) string {
	if r.Strip != "" {
		if path = strings.TrimPrefix(path, r.Strip); path == "" || path[0] != '/' {
			path = "/" + path
		}
		return path
	}
	if r.Rewrite == "" {
		return path
	}
	to, _ := parsePath(r.Rewrite) // it is valid
	var b strings.Builder
	for _, s := range to {
		b.WriteByte('/')
		if s.Kind == Literal {
			b.WriteString(s.Text)
		} else {
			b.WriteString(variables[s.Text])
		}
	}
	return b.String()
}

// HostOf normalizes the host of a request as in routes: lower case, without port and trailing dot.
func HostOf(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.TrimSuffix(lower(host), ".")
}

// Normal returns the path of a request as gateways compare it: decoded, without empty segments, "." and "..". It
// returns false if the path would lead above the root or can't be decoded, as gateways refuse such requests.
func Normal(path string) (string, bool) {
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	decoded, ok := decode(path)
	if !ok || decoded == "" || decoded[0] != '/' || strings.IndexByte(decoded, 0) >= 0 {
		return "", false
	}
	var kept []string
	segments := strings.Split(decoded[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", false
			}
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, s)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/"), true
}

func decode(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if len(s)-i < 3 {
			return "", false
		}
		high, low := hexValue(s[i+1]), hexValue(s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
