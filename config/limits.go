package config

// Limit is a key of [guard] that its rules use, with its value.
type Limit struct {
	Key   string
	Value any    // as in JSON: a duration is a string
	Text  string // as in a file
}

// settled are the keys of [guard] that no rule uses: which addresses may be dialed, and the witness's request, are
// applied before the guard decides.
var settled = map[string]bool{"allow_addresses": true, "deny_addresses": true, "witness_path": true}

// Limits returns the keys that the guard's rules use, with their values.
func (c Config) Limits() []Limit {
	var all []Limit
	for _, f := range fields(&c.Guard) {
		if !settled[f.key] {
			all = append(all, Limit{Key: f.key, Value: f.value(), Text: f.show()})
		}
	}
	return all
}

// TryLimits is [Kinds.LoadReadable] with other limits, each in the form key=value, which are validated like the rest of
// [guard]. It also returns the configuration without them.
func (k Kinds) TryLimits(path string, env, overrides, limits []string) (tried, is Config, err error) {
	if is, err = k.LoadReadable(path, env, overrides); err != nil || len(limits) == 0 {
		return is, is, err
	}
	for _, limit := range limits {
		e := k.fromOverride("guard." + limit)
		if e.wrong == "" && settled[e.key] {
			return Config{}, Config{}, &Error{Where: e.where, Key: e.path(e.key), Problem: "no rule judges by it: " +
				"what it says was settled before the guard decided; allowed are " + either(LimitKeys())}
		}
		overrides = append(overrides[:len(overrides):len(overrides)], "guard."+limit)
	}
	tried, err = k.LoadReadable(path, env, overrides)
	return tried, is, err
}

// LimitKeys returns the keys that the guard's rules use.
func LimitKeys() []string {
	var all []string
	for _, l := range (Config{}).Limits() {
		all = append(all, l.Key)
	}
	return all
}
