package config

// Limit is a key of [guard] that its rules judge by, and its value.
type Limit struct {
	Key   string
	Value any    // as in JSON: a duration is a string
	Text  string // as in a file
}

// settled are the keys of [guard] that no rule judges by: which addresses may be reached, and what a witness asks, is
// settled before the guard decides.
var settled = map[string]bool{"allow_addresses": true, "deny_addresses": true, "witness_path": true}

// Limits lists the keys of the guard's rules with their values.
func (c Config) Limits() []Limit {
	var all []Limit
	for _, f := range fields(&c.Guard) {
		if !settled[f.key] {
			all = append(all, Limit{Key: f.key, Value: f.value(), Text: f.show()})
		}
	}
	return all
}

// TryLimits is [Kinds.LoadReadable] with other limits, each written key=value, which are judged as the rest of [guard] is. It
// returns the configuration without them, too.
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

// LimitKeys lists the keys of the guard's rules.
func LimitKeys() []string {
	var all []string
	for _, l := range (Config{}).Limits() {
		all = append(all, l.Key)
	}
	return all
}
