package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/near"
)

const envPrefix = "SWALLOWKEEPER_"

// fromEnv returns the entries of our variables, lower list numbers first.
func (k Kinds) fromEnv(env []string) []entry {
	var list []entry
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, envPrefix) {
			list = append(list, k.fromVariable(name, value))
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.n, b.n) })
	return list
}

func (k Kinds) fromVariable(name, value string) entry {
	rest := strings.TrimPrefix(name, envPrefix)
	var known []string
	for _, s := range k.sections() {
		p := place{section: s.name}
		prefix := envName(s.name) + "_"
		if s.list {
			p.n = 1
			digits, _, _ := strings.Cut(strings.TrimPrefix(rest, prefix), "_")
			if n, ok := position(digits); ok && strings.HasPrefix(rest, prefix) {
				p.n = n
				prefix += digits + "_"
			}
		}
		for _, key := range s.keys {
			candidate := prefix + envName(key)
			if candidate == rest {
				return entry{place: p, key: key, value: text(value), where: name}
			}
			known = append(known, candidate)
		}
	}
	if near := near.Word(rest, known); near != "" {
		return entry{where: name, wrong: "unknown variable; did you mean " + envPrefix + near + "?"}
	}
	wrong := fmt.Sprintf("unknown variable; allowed are %[1]s, the table and the key, "+
		"e.g. %[1]sGUARD_MIN_SERVICES", envPrefix)
	if strings.HasPrefix(rest, "UPSTREAM_") {
		wrong += "; the options of a single upstream are set in the file or on the command line"
	}
	return entry{where: name, wrong: wrong}
}

func envName(s string) string { return strings.ToUpper(s) }

// fromOverrides returns the entries of the command line's key.path=value.
func (k Kinds) fromOverrides(overrides []string) []entry {
	var list []entry
	for _, o := range overrides {
		list = append(list, k.fromOverride(o))
	}
	return list
}

func (k Kinds) fromOverride(override string) entry {
	const where = "command line"
	path, value, ok := strings.Cut(override, "=")
	path = strings.TrimSpace(path)
	if !ok {
		wrong := fmt.Sprintf("%q has no value; allowed is key.path=value, e.g. guard.min_services=30", path)
		return entry{where: where, wrong: wrong}
	}
	parts := strings.Split(path, ".")
	s, known := k.find(parts[0])
	p := place{section: parts[0]}
	key := parts[len(parts)-1]
	between := parts[1:max(1, len(parts)-1)]
	if known && s.list && len(parts) > 1 {
		p.n = 1
		if len(between) > 0 {
			if n, isPosition := position(between[0]); isPosition {
				p.n, between = n, between[1:]
			}
		}
	}
	switch {
	case p.n > 0 && len(between) == 0:
	case p.n > 0 && len(between) > 1 && slices.Contains(k.innerKeys(s.name), between[0]):
		p.under, p.inside, p.name = between[0], true, unquoted(between[1:])
	case known && s.named && len(parts) > 2:
		p.inside, p.name = true, unquoted(between)
	case !known || len(parts) != 2:
		wrong := unknown("key", path, k.allKeys(), "allowed is the table and the key, e.g. guard.min_services")
		return entry{where: where, wrong: fmt.Sprintf("%q: %s", path, wrong)}
	}
	return entry{place: p, key: key, value: text(value), where: where}
}

// unquoted returns a name in the middle of a path.
func unquoted(parts []string) string { return strings.Trim(strings.Join(parts, "."), `"`) }

// position parses the number of a list's table, from 1.
func position(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && strconv.Itoa(n) == s
}

// value returns a variable of an environment; the last one wins.
func value(env []string, name string) string {
	found := ""
	for _, variable := range env {
		if v, ok := strings.CutPrefix(variable, name+"="); ok {
			found = v
		}
	}
	return found
}
