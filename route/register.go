package route

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Registered parses a route from a registration: HOST/PATH or /PATH, with options after it as words (strip=/api) or by
// name in beside. upstream is the upstream of the registration.
//
//	shop.example.com/api/* strip methods=GET,POST
//
// The route of every host and path is refused: whoever may register an instance would receive all unmatched requests.
func Registered(text, upstream string, beside map[string]string) (Route, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Route{}, badForm.Err(quote(text))
	}
	r, err := parseWhere(words[0])
	if err != nil {
		return Route{}, badForm.Err(quote(text))
	}
	r.Host = lower(r.Host)
	if _, err := ParsePath(r.Path); err != nil {
		return Route{}, err
	}
	said := map[string]string{}
	take := func(key, value string) error {
		if _, is := said[key]; is {
			return optionTwice.Err(quote(key))
		}
		said[key] = value
		return r.set(key, value)
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if err := take(key, value); err != nil {
			return Route{}, err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(beside)) {
		if err := take(key, beside[key]); err != nil {
			return Route{}, err
		}
	}
	if err := r.Valid(upstream); err != nil {
		return Route{}, err
	}
	if r.Host == "" && r.Claim() == "/*" {
		return Route{}, everything.Err()
	}
	return r, nil
}

// Bad is a refused route of a registration.
type Bad struct {
	Text string // as registered
	Err  error
}

// TooMany returns the error for the first route of a registration beyond the limit. It and those after it are refused.
func TooMany(text string) Bad { return Bad{text, tooMany.Err(MaxRoutes)} }

// Labels parses routes from a registration's labels or meta keys. Their names begin with prefix, such as
// "swallowkeeper.", and their parts are separated by sep:
//
//	swallowkeeper.route          shop.example.com/api/*
//	swallowkeeper.route.strip    true
//	swallowkeeper.route.2        /old/*
//	swallowkeeper.route.2.auth   /auth
//
// Other keys are ignored. A bad route does not affect the others.
func Labels(labels map[string]string, prefix, sep, upstream string) (routes []Route, bad []Bad) {
	type said struct {
		text   string
		beside map[string]string
	}
	all := map[int]said{}
	var numbers []int
	for key, value := range labels {
		rest, is := strings.CutPrefix(key, prefix+"route")
		if !is || rest != "" && !strings.HasPrefix(rest, sep) {
			continue
		}
		number, rest := cutNumber(rest, sep)
		s, known := all[number]
		if !known {
			numbers = append(numbers, number)
		}
		if rest == "" {
			s.text = value
		} else {
			if s.beside == nil {
				s.beside = map[string]string{}
			}
			s.beside[strings.TrimPrefix(rest, sep)] = value
		}
		all[number] = s
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if len(routes) == MaxRoutes {
			return Canonical(routes), append(bad, TooMany(all[n].text))
		}
		r, err := Registered(all[n].text, upstream, all[n].beside)
		if err != nil {
			bad = append(bad, Bad{cmp.Or(all[n].text, prefix+"route"), err})
			continue
		}
		routes = append(routes, r)
	}
	return Canonical(routes), bad
}

// cutNumber splits the number of a route from its key; the default is 1.
func cutNumber(key, sep string) (number int, rest string) {
	digits, rest, _ := strings.Cut(strings.TrimPrefix(key, sep), sep)
	if n, err := strconv.Atoi(digits); err == nil && n > 0 && strconv.Itoa(n) == digits {
		if rest != "" {
			rest = sep + rest
		}
		return n, rest
	}
	return 1, key
}
