package route

import "strings"

const fabioPrefix = "urlprefix-"

// IsFabio reports whether a tag is a fabio route.
func IsFabio(tag string) bool { return strings.HasPrefix(tag, fabioPrefix) }

// Fabio parses a route from a registration's tag in fabio's format:
//
//	urlprefix-shop.example/api strip=/api
//
// is is false for other tags. The path matches everything below it, but only whole segments: /api does not match /apix.
// Options of fabio that a route does not have are an error.
func Fabio(tag, upstream string) (r Route, is bool, err error) {
	text, is := strings.CutPrefix(tag, fabioPrefix)
	if !is {
		return r, false, nil
	}
	words := strings.Fields(text)
	if len(words) == 0 {
		return r, true, badForm.Err(quote(tag))
	}
	words[0] = strings.TrimSuffix(words[0], "/")
	if !strings.Contains(words[0], "/") && !strings.Contains(text, "/") {
		return r, true, badForm.Err(quote(tag)) // a TCP port
	}
	words[0] += "/*"
	kept := words[:0]
	for _, w := range words {
		if w != "proto=http" { // the default
			kept = append(kept, w)
		}
	}
	r, err = Registered(strings.Join(kept, " "), upstream, nil)
	return r, true, err
}

// FromTags parses all routes among tags, as [Fabio] does.
func FromTags(tags []string, upstream string) (routes []Route, bad []Bad) {
	for _, tag := range tags {
		r, is, err := Fabio(tag, upstream)
		switch {
		case !is:
		case err != nil:
			bad = append(bad, Bad{tag, err})
		case len(routes) < MaxRoutes:
			routes = append(routes, r)
		default:
			bad = append(bad, TooMany(tag))
		}
	}
	return routes, bad
}
