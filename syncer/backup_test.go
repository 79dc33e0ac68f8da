package syncer

import (
	"slices"
	"testing"

	"swallowkeeper/generation"
	"swallowkeeper/guard"
	"swallowkeeper/upstream"
)

// backups makes servers of a set backups, those with the given addresses, and sets the method.
func backups(s upstream.Set, origin, method string, hosts ...string) upstream.Set {
	var list []upstream.Upstream
	for u := range s.All() {
		u.Options.Method = method
		u.Servers = slices.Clone(u.Servers)
		for i := range u.Servers {
			u.Servers[i].Origin = origin
			u.Servers[i].Backup = slices.Contains(hosts, u.Servers[i].Addr.Addr().String())
		}
		list = append(list, u)
	}
	return upstream.NewSet(list)
}

func TestBackups(t *testing.T) {
	for _, tt := range []struct {
		name    string
		written upstream.Set
		parts   []upstream.Set
		want    []string // what is a backup in the end
	}{
		{"one registry's only server backs up another's", upstream.Set{}, []upstream.Set{
			backups(set("a: 1"), "r", ""), backups(set("a: 2"), "s", "", "10.0.0.2"),
		}, []string{"10.0.0.2"}},
		{"nothing but backups: they serve", upstream.Set{}, []upstream.Set{
			backups(set("a: 1"), "r", "", "10.0.0.1"), backups(set("a: 2"), "s", "", "10.0.0.2"),
		}, nil},
		{"a backup of servers that are held", backups(set("a: 1 2 3 4"), "r", "", "10.0.0.4"), []upstream.Set{
			backups(set("a: 4"), "r", "", "10.0.0.4"),
		}, []string{"10.0.0.4"}},
		{"kept servers under a method that takes none", backups(set("a: 1 2, b: 3"), "r", "", "10.0.0.2"), []upstream.Set{
			backups(set("a: none, b: 3"), "r", "ip_hash"),
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := guard.DefaultConfig().Decide(guard.Input{Accepted: tt.written, Seen: upstream.Merge(tt.written, tt.parts...)})
			v = (&Syncer{}).admit(generation.Generation{Set: tt.written}, v)
			var got []string
			for u := range v.Accepted.All() {
				for _, s := range u.Servers {
					if s.Backup {
						got = append(got, s.Addr.Addr().String())
					}
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("backups %q, want %q", got, tt.want)
			}
		})
	}
}
