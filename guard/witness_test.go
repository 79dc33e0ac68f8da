package guard

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// reached is a witness that knows what the addresses do.
func reached(answered, refused string) func(*Input) {
	does := map[netip.AddrPort]Answer{}
	for _, n := range strings.Fields(answered) {
		does[addr(n)] = Answered
	}
	for _, n := range strings.Fields(refused) {
		does[addr(n)] = Refused
	}
	return func(in *Input) { in.Witness = func(a netip.AddrPort) Answer { return does[a] } }
}

func TestWitness(t *testing.T) {
	const last, seen = "a: 1 2 3 4 5 6, b: 7 8", "a: 6, b: 7 8"
	for _, tt := range []struct {
		name              string
		answered, refused string
		accepted, held    string
		reason            string
	}{
		{"none was tried", "", "", last, "max_removal: a 1, a 2, a 3, a 4, a 5", "held"},
		{"none answers", "6", "1 2 3 4 5", seen, "", ""},
		{
			"none answers, and neither do those that are registered", "", "1 2 3 4 5 6 7 8", last, "max_removal: a 1, a 2, a 3, a 4, a 5",
			"held; none of the 5 accepts connections, and neither do servers that are listed: that proves nothing",
		},
		{"one was not tried", "6", "1 2 3 4", last, "max_removal: a 1, a 2, a 3, a 4, a 5", "held"},
		{"one answers", "6 5", "1 2 3 4", last, "max_removal: a 1, a 2, a 3, a 4, a 5", "held; 1 of 5 still accept connections"},
		{"some answer, and some were not tried", "6 5", "1", last, "max_removal: a 1, a 2, a 3, a 4, a 5", "held; 1 of 5 still accept connections; 3 could not be tried"},
		{"most answer", "1 2 3 6", "4 5", last, "max_removal: a 1, a 2, a 3, a 4, a 5", "held; 3 of 5 still accept connections"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := begin(t, last)
			d := c.sees(time.Second, seen, reached("", ""))
			if got := len(d.Ask); got < 6 {
				t.Errorf("%d addresses are asked for: %v", got, d.Ask)
			}
			d = c.sees(time.Second, seen, reached(tt.answered, tt.refused))
			c.wants(d, tt.accepted, tt.held)
			if len(d.Holds) > 0 && !strings.HasSuffix(d.Holds[0].Reason.String(), tt.reason) {
				t.Errorf("reason %q", d.Holds[0].Reason)
			}
			if len(d.Holds) == 0 && (len(d.Released) != 1 || d.Released[0].By != ByProof) {
				t.Errorf("released is %+v", d.Released)
			}
		})
	}
	t.Run("an empty registry is for a person", func(t *testing.T) {
		c := begin(t, last)
		c.wants(c.sees(time.Second, "", reached("6", "1 2 3 4 5 7 8")), last, "min_services: a 1, a 2, a 3, a 4, a 5, a 6, b 7, b 8")
	})
	t.Run("all replaced, and the old ones are alive", func(t *testing.T) {
		c := begin(t, "a: 1 2 3 4, b: 5")
		c.sees(time.Second, "a: 11 12 13 14, b: 5", reached("1 2 3 5", "4"))
		d := c.sees(time.Hour, "a: 11 12 13 14, b: 5", reached("1 2 3 5", "4"))
		c.wants(d, "a: 1 2 3 4 11 12 13 14, b: 5", "max_removal: a 1, a 2, a 3, a 4")
	})
	t.Run("unhealthy and dead goes where some are usable", func(t *testing.T) {
		c := begin(t, "a: 1 2 3 4 5, b: 6 7 8")
		c.wants(c.sees(time.Second, "a: !1 !2 !3 4 5, b: 6 7 8"), "a: 1 2 3 4 5, b: 6 7 8", "")
		c.wants(c.sees(time.Second, "a: !1 !2 !3 4 5, b: 6 7 8", reached("4 6", "1 2")), "a: 3 4 5, b: 6 7 8", "")
	})
}

// What failed while nobody else answered is held until it is tried again.
func TestWitnessUnproven(t *testing.T) {
	const last, seen = "a: 1 2 3 4 5 6, b: 7 8", "a: 6, b: 7 8"
	for answered, reason := range map[string]string{
		"6":   "held",
		"":    "held; none of the 5 accepts connections, and neither do servers that are listed: that proves nothing",
		"6 4": "held; 1 of 5 still accept connections; 1 could not be tried",
	} {
		c := begin(t, last)
		d := c.sees(time.Second, seen, func(in *Input) {
			in.Witness = func(a netip.AddrPort) Answer {
				switch {
				case slices.ContainsFunc(strings.Fields(answered), func(n string) bool { return addr(n) == a }):
					return Answered
				case a == addr("1"):
					return Refused
				case a == addr("5") && answered == "6 4":
					return Untried
				}
				return Unproven
			}
		})
		c.wants(d, last, "max_removal: a 1, a 2, a 3, a 4, a 5")
		if got := reasonOf(t, d); !strings.HasSuffix(got, reason) {
			t.Errorf("reason %q, want %q", got, reason)
		}
	}
	c := begin(t, "a: 1 2 3 4 5, b: 6 7 8")
	c.wants(c.sees(time.Second, "a: !1 !2 !3 4 5, b: 6 7 8", func(in *Input) {
		in.Witness = func(a netip.AddrPort) Answer {
			if a == addr("4") {
				return Answered
			}
			return Unproven
		}
	}), "a: 1 2 3 4 5, b: 6 7 8", "")
}

// reasonOf is why the one hold is.
func reasonOf(t *testing.T, d Decision) string {
	t.Helper()
	if len(d.Holds) != 1 {
		t.Fatalf("holds %+v", d.Holds)
	}
	return d.Holds[0].Reason.String()
}

func TestWitnessOfAnEmptyRegistry(t *testing.T) {
	const last = "a: 1 2 3 4, b: 5"
	c := begin(t, last)
	c.limits.MinServices = 2
	d := c.sees(time.Second, "b: 5", reached("5", "1 2 3 4"))
	c.wants(d, last, "min_services: a 1, a 2, a 3, a 4")
	if got := reasonOf(t, d); !strings.HasSuffix(got, "; none of the 4 accepts connections: an operator must decide") {
		t.Errorf("reason %q", got)
	}
	if h := d.Holds[0]; len(h.Dead) != 4 || len(h.Alive) != 0 {
		t.Errorf("hold %+v", h)
	}
}

// What is on the gateway's own host answers without a network: it tells nothing of other hosts.
func TestWitnessWithoutANetwork(t *testing.T) {
	here := func(in *Input) {
		in.Here = func(a netip.Addr) bool { return a == addr("7").Addr() || a == addr("8").Addr() }
	}
	const last = "a: 1 2 3 4 5 6, b: 7 8"
	c := begin(t, last)
	c.wants(c.sees(time.Second, "a: 6, b: 7 8", here, reached("7 8", "1 2 3 4 5 6")), last, "max_removal: a 1, a 2, a 3, a 4, a 5")
	c.wants(c.sees(time.Second, "a: 6, b: 7 8", here, reached("6 7 8", "1 2 3 4 5")), "a: 6, b: 7 8", "")

	all := func(in *Input) { in.Here = func(netip.Addr) bool { return true } }
	c = begin(t, last) // nothing needs a network here
	c.wants(c.sees(time.Second, "a: 6, b: 7 8", all, reached("7", "1 2 3 4 5 6 8")), "a: 6, b: 7 8", "")
}

// Some of what is listed may be dead, too: others are tried until one answers, and not all that there is.
func TestControls(t *testing.T) {
	const last = "a: 1 2 3, b: 4 5 6 7 8 9 10 11 12 13 14, c: 15, d: 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31"
	const seen = "b: 4 5 6 7, c: 15, d: 16"
	gone := "1 2 3 8 9 10 11 12 13 14 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31"
	held := begin(t, last).sees(time.Second, seen, reached("", gone))
	if got := len(held.Ask) - len(held.Holds[0].Removed); got != controls {
		t.Errorf("%d controls are tried", got)
	}
	if !slices.Contains(held.Ask, addr("4")) || !slices.Contains(held.Ask, addr("15")) || !slices.Contains(held.Ask, addr("16")) {
		t.Errorf("not one of each upstream is tried: %v", held.Ask)
	}
	more := begin(t, last).sees(time.Second, seen, reached("", gone+" 4 15 16"))
	if got := len(more.Ask) - len(more.Holds[0].Removed); got != 2*controls {
		t.Errorf("%d controls are tried after three did not answer", got)
	}
	c := begin(t, last)
	c.wants(c.sees(time.Second, seen, reached("6", gone+" 4 15 16 5")), seen, "")

	wide := "a: 1 2 3 4, b: 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25"
	dead := "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25"
	c = begin(t, wide)
	c.limits.MaxRemoval = 0
	d := c.sees(time.Second, strings.TrimPrefix(wide, "a: 1 2 3 4, "), reached("", dead))
	if got := len(d.Ask) - 4; got != mostControls {
		t.Errorf("%d controls are tried where none answers", got)
	}
}

func TestWitnessByHTTP(t *testing.T) {
	const last, seen = "a: 1 2 3 4 5 6, b: 7 8", "a: 6, b: 7 8"
	for want, does := range map[string]func(*Input){
		"; 2 of 5 still answer /healthz": reached("1 2 6", "3 4 5"),
		"; none of the 5 answers /healthz, and neither do servers that are listed: that proves nothing": reached("", "1 2 3 4 5 6 7 8"),
	} {
		c := begin(t, last)
		c.limits.WitnessBy, c.limits.WitnessPath = WitnessHTTP, "/healthz"
		if got := reasonOf(t, c.sees(time.Second, seen, does)); !strings.HasSuffix(got, want) {
			t.Errorf("reason %q, want %q", got, want)
		}
	}
}

func TestWitnessIsConfigured(t *testing.T) {
	for _, path := range []string{"", "healthz", "//other.example/", "/a b", "/a#b", "/a\nb", "/ä", "http://a/", "/%zz", "/" + strings.Repeat("a", 256)} {
		c := DefaultConfig()
		c.WitnessPath = path
		if c.Validate() == nil {
			t.Errorf("path %q is allowed", path)
		}
	}
	for _, path := range []string{"/", "/healthz", "/health?full=1", "/a%20b"} {
		c := DefaultConfig()
		c.WitnessBy, c.WitnessPath = WitnessHTTP, path
		if err := c.Validate(); err != nil {
			t.Errorf("path %q: %v", path, err)
		}
	}
}
