package probe

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/guard"
)

// TestMoreDeadThanCanBeTriedAgain asks again and again for more servers than can be tried anew before the first ones are
// due once more: whoever was never tried goes before them.
func TestMoreDeadThanCanBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, MostAtOnce/5)
		const dead = 800 // two tries of a second each, 50 at a time: 32 s, and a server is due again after 10 s
		all := many(dead + 1)
		alive := all[dead]
		r.try = func(_ context.Context, a netip.AddrPort) error {
			if a == alive {
				return nil
			}
			<-time.After(time.Second)
			return errRefused
		}
		began := time.Now()
		for found := 0; found < dead; {
			if time.Since(began) > time.Minute {
				t.Fatalf("%d of %d are found dead", found, dead)
			}
			r.Ask(all) // as each decision does
			r.pass(time.Second)
			found = 0
			for _, a := range all[:dead] {
				if r.Answer(a) == guard.Refused {
					found++
				}
			}
		}
	})
}
