package replay_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/guard"
	"swallowkeeper/guard/replay"
	"swallowkeeper/upstream"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// fleet is services of so many servers, the first of which are gone.
func fleet(services, each, gone int) upstream.Set {
	var list []upstream.Upstream
	for s := range services {
		u := upstream.Upstream{Name: fmt.Sprintf("service-%04d", s)}
		for n := range each {
			if gone--; gone < 0 {
				u.Servers = append(u.Servers, upstream.Server{
					Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(s >> 8), byte(s), byte(n)}), 80),
					Weight: 1, MaxFails: 3, FailTimeout: 2 * time.Second, Origin: "r",
				})
			}
		}
		if len(u.Servers) > 0 {
			list = append(list, u)
		}
	}
	return upstream.NewSet(list)
}

func backups(set upstream.Set) upstream.Set {
	list := slices.Collect(set.All())
	for _, u := range list {
		for i := range u.Servers {
			u.Servers[i].Backup = true
		}
	}
	return upstream.NewSet(list)
}

// daemon decides as the syncer does, and notes it.
type daemon struct {
	limits   guard.Config
	accepted upstream.Set
	history  guard.History
	began    bool
	again    time.Time
	seen     upstream.Set
	moments  []replay.Moment
	holds    []guard.Hold
}

func newDaemon(limits guard.Config, accepted upstream.Set) *daemon {
	return &daemon{limits: limits, accepted: accepted, began: true}
}

// sees has it decide at a time, and before that whenever the guard asked for it, a little late.
func (d *daemon) sees(after time.Duration, seen upstream.Set, with ...func(*replay.Moment)) guard.Decision {
	now := noon.Add(after)
	for !d.again.IsZero() && d.again.Before(now.Add(-10*time.Millisecond)) {
		d.decide(d.again.Add(3*time.Millisecond), d.seen)
	}
	return d.decide(now, seen, with...)
}

func (d *daemon) decide(now time.Time, seen upstream.Set, with ...func(*replay.Moment)) guard.Decision {
	d.seen = seen
	m := replay.Moment{
		Input:  guard.Input{Accepted: d.accepted, Seen: seen, History: d.history, Now: now},
		Limits: d.limits, Began: d.began, Fresh: d.began,
	}
	for _, f := range with {
		f(&m)
	}
	m.Said()
	dec := d.limits.Decide(m.Input)
	if !m.Unsaved {
		d.accepted, d.history = gateway.Loadable(dec.Accepted), dec.History
	}
	d.began, d.again = false, time.Time{}
	if dec.Again > 0 {
		d.again = now.Add(dec.Again)
	}
	m.Result = d.accepted
	d.moments = append(d.moments, m)
	d.holds = dec.Holds
	return dec
}

func (d *daemon) calm(after time.Duration) {
	d.moments = append(d.moments, replay.Moment{Input: guard.Input{Now: noon.Add(after)}, Calm: true})
}

func with(change func(*guard.Config)) guard.Config {
	c := guard.DefaultConfig()
	change(&c)
	return c
}

// brief writes holds in a few words.
func brief(holds []replay.Hold) string {
	var lines []string
	for _, h := range holds {
		ended := "-"
		if !h.Ended.IsZero() {
			ended = h.Ended.Sub(noon).String()
		}
		right := ""
		if h.Right > 0 {
			right = fmt.Sprintf(" right %d at %s", h.Right, h.RightAt.Sub(noon))
		}
		lines = append(lines, fmt.Sprintf("%s %s to %s by %s: kept %d, out %d,%s went %d, elsewhere %d held %d through",
			strings.TrimSpace(h.Rule+" "+h.Upstream), h.Began.Sub(noon), ended, h.By, h.Kept, h.KeptOut, right, h.Went, h.Elsewhere.Held, h.Elsewhere.Through))
	}
	return strings.Join(lines, "\n")
}

func TestOtherLimits(t *testing.T) {
	loose := with(func(c *guard.Config) { c.MaxRemovalWindow, c.MaxRemoval, c.MaxServiceRemoval = 0.9, 0.9, 0.9 })
	for _, tt := range []struct {
		name           string
		today, limits  guard.Config
		story          func(d *daemon)
		holds, notHere string
	}{
		{
			name: "a slow bleed that was let through", today: loose,
			limits: with(func(c *guard.Config) { c.MaxRemovalWindow, c.MaxRemoval, c.MaxServiceRemoval = 0.3, 0.9, 0.9 }),
			story: func(d *daemon) {
				for i := range 61 {
					d.sees(time.Duration(i)*5*time.Second, fleet(10, 10, i))
				}
				d.sees(10*time.Minute, fleet(10, 10, 0))
				d.calm(20 * time.Minute)
			},
			holds: "max_removal_window 2m35s to 10m0s by resolved: kept 30, out 0, right 30 at 10m0s went 0, elsewhere 0 held 30 through",
		},
		{
			name: "a loss that recovers in pieces", today: guard.DefaultConfig(), limits: guard.DefaultConfig(),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 80))
				d.sees(2*time.Second, fleet(10, 10, 30))
				d.sees(3*time.Second, fleet(10, 10, 5))
				d.sees(10*time.Minute, fleet(10, 10, 5))
			},
			holds: "max_removal 1s to 2s by replaced: kept 80, out 0, right 75 at 3s went 0, elsewhere 0 held 0 through\n" +
				"recovery 2s to 3m3.003s by within: kept 30, out 0, right 25 at 3s went 5, elsewhere 0 held 0 through",
		},
		{
			name: "what the daemon held, and looser limits would have let through", today: guard.DefaultConfig(), limits: loose,
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 60))
				d.sees(2*time.Hour, fleet(10, 10, 60))
			},
			notHere: "max_removal 1s to - by open: kept 60, out 0, went 0, elsewhere 0 held 60 through",
		},
		{
			name: "other limits let go in their own time", today: guard.DefaultConfig(),
			limits: with(func(c *guard.Config) { c.HoldFor = 5 * time.Minute }),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 60))
				d.calm(time.Hour)
			},
			holds:   "max_removal 1s to 5m1s by hold_for: kept 60, out 0, went 60, elsewhere 60 held 0 through",
			notHere: "max_removal 1s to - by open: kept 60, out 0, went 0, elsewhere 0 held 60 through",
		},
		{
			name: "nothing is decided while no daemon is there", today: guard.DefaultConfig(),
			limits: with(func(c *guard.Config) { c.HoldFor = 5 * time.Minute }),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 60))
				d.again, d.began = time.Time{}, true
				d.sees(time.Hour, fleet(10, 10, 60))
			},
			holds:   "max_removal 1s to 1h0m0s by hold_for: kept 60, out 0, went 60, elsewhere 60 held 0 through",
			notHere: "max_removal 1s to - by open: kept 60, out 0, went 0, elsewhere 0 held 60 through",
		},
		{
			name: "a person approved it, and what does not exist elsewhere is not approved there", today: guard.DefaultConfig(),
			limits: with(func(c *guard.Config) { c.MaxRemoval, c.MaxRemovalWindow = 0.2, 0.2 }),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 30))
				d.sees(2*time.Second, fleet(10, 10, 60))
				d.sees(3*time.Second, fleet(10, 10, 60), func(m *replay.Moment) { m.Approved = d.holds[0].ID })
				d.sees(time.Hour, fleet(10, 10, 60))
			},
			holds: "max_removal 1s to - by open: kept 60, out 0, went 0, elsewhere 0 held 60 through",
		},
		{
			name: "junk that was kept out and went again", today: with(func(c *guard.Config) { c.MaxGrowth = 1000 }),
			limits: guard.DefaultConfig(),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(60, 10, 0))
				d.sees(time.Minute, fleet(10, 10, 0))
			},
			holds:   "max_growth 1s to 1m0s by resolved: kept 0, out 500, right 500 at 1m0s went 0, elsewhere 0 held 500 through",
			notHere: "max_removal 1m0s to - by open: kept 500, out 0, went 0, elsewhere 0 held 500 through",
		},
		{
			name: "a rollback is taken over, and begins every account anew", today: loose,
			limits: with(func(c *guard.Config) { c.MaxRemovalWindow, c.MaxRemoval, c.MaxServiceRemoval = 0.3, 0.3, 1 }),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 60))
				d.accepted, d.history = fleet(10, 10, 20), guard.History{}
				d.sees(2*time.Second, fleet(10, 10, 20), func(m *replay.Moment) { m.Fresh = true })
				d.calm(time.Hour)
			},
			holds: "max_removal 1s to 2s by within: kept 60, out 0, right 40 at 2s went 20, elsewhere 0 held 60 through",
		},
		{
			name: "nothing but backups serve, and are no change", today: guard.DefaultConfig(), limits: guard.DefaultConfig(),
			story: func(d *daemon) {
				d.sees(0, backups(fleet(10, 10, 0)))
				d.sees(time.Second, backups(fleet(10, 10, 40)))
				d.history = guard.Held(1000) // as another process wrote it
				d.sees(2*time.Second, backups(fleet(10, 10, 60)), func(m *replay.Moment) { m.Fresh = true })
				d.calm(time.Hour)
			},
		},
		{
			name: "a decision that could not be written led to nothing", today: guard.DefaultConfig(), limits: guard.DefaultConfig(),
			story: func(d *daemon) {
				d.sees(0, fleet(10, 10, 0))
				unsaved := func(m *replay.Moment) { m.Unsaved = true }
				d.sees(time.Second, fleet(10, 10, 40), unsaved)
				d.sees(2*time.Second, fleet(10, 10, 60))
				d.sees(3*time.Second, fleet(10, 10, 0))
			},
			holds: "max_removal 2s to 3s by resolved: kept 60, out 0, right 60 at 3s went 0, elsewhere 0 held 0 through",
		},
		{
			name: "a proof of then counts for other limits too", today: loose,
			limits: with(func(c *guard.Config) { c.MaxRemovalWindow, c.MaxRemoval, c.MaxServiceRemoval = 0.3, 0.3, 1 }),
			story: func(d *daemon) {
				dead := map[netip.AddrPort]guard.Answer{}
				all := fleet(10, 10, 0)
				for u := range all.All() {
					for _, s := range u.Servers {
						dead[s.Addr] = guard.Refused
					}
				}
				for u := range fleet(10, 10, 40).All() {
					for _, s := range u.Servers {
						dead[s.Addr] = guard.Answered
					}
				}
				d.sees(0, fleet(10, 10, 0))
				d.sees(time.Second, fleet(10, 10, 40))
				d.sees(10*time.Second, fleet(10, 10, 40), func(m *replay.Moment) { m.Answers = dead })
			},
			holds: "max_removal 1s to 10s by proof: kept 40, out 0, went 40, elsewhere 0 held 40 through",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(tt.today, fleet(10, 10, 0))
			tt.story(d)
			same := replay.Limits(tt.today, tt.today, slices.Values(d.moments), time.Time{})
			if same.Unlike != 0 || same.OtherLimits || len(same.NotHere) > 0 || len(same.Then) > 0 {
				t.Errorf("with the limits of then %d of %d decisions are others, or there is more: %+v", same.Unlike, same.Decisions, same)
			}
			r := replay.Limits(tt.limits, tt.today, slices.Values(d.moments), time.Time{})
			if got := brief(r.Holds); got != tt.holds {
				t.Errorf("holds\n%s\nwant\n%s", got, tt.holds)
			}
			if got := brief(r.NotHere); got != tt.notHere {
				t.Errorf("not here\n%s\nwant\n%s", got, tt.notHere)
			}
		})
	}
}
