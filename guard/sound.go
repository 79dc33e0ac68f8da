package guard

import "swallowkeeper/upstream"

// sound returns what is seen without the upstreams that nginx would refuse. The conf file is loaded whole or not at
// all, so one of these would block the changes of all others. A known upstream stays as it is written.
func (s *step) sound() upstream.Set {
	var put []upstream.Upstream
	var drop []string
	var out []upstream.Out
	for old, u := range upstream.Changed(s.Accepted, s.Seen) {
		if u.Name == "" && old.Name != "" {
			continue
		}
		err := u.Valid()
		if err == nil {
			continue
		}
		why := refused.With(err)
		if old.Name == "" {
			drop = append(drop, u.Name)
		} else {
			put = append(put, old)
			why = refusedStay.With(err)
		}
		out = append(out, upstream.Out{Service: u.Name, Upstream: u.Name, Reason: why})
	}
	if out == nil {
		return s.Seen
	}
	return s.Seen.With(put, drop).AlsoOut(out...)
}
