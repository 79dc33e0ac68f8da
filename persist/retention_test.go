package persist

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRetention lets generations come at times, prunes after each as a daemon does, and looks what is left at the end.
func TestRetention(t *testing.T) {
	noon := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		come string // times before noon, the first generation first; "x N every D" repeats
		want string // numbers
	}{
		{"the last three", "50s 49s 48s 47s 46s", "3 4 5"},
		{"one a minute", "10m30s 10m20s 9m40s 9m30s 8m40s 3s 2s 1s", "2 4 5 6 7 8"},
		{"nothing came for a while before the accident", "9m 3m30s 3s x 1000 every 1ms", "1 2 1000 1001 1002"},
		{"the last calm alone", "300h 299h50m 290h 12h x 1000 every 1ms 1s x 5 every 1ms", "1003 1004 1006 1007 1008"},
		{"a calm that is older than a week", "300h 299h50m 290h 1s x 5 every 1ms", "3 4 6 7 8"},
		{"one an hour", "20h40m 20h20m 19h40m 18h30m 3s 2s 1s", "2 3 4 5 6 7"},
		{"one a day", "150h 149h 130h 129h58m 3s 2s 1s", "2 4 5 6 7"},
		{"what is older than a week goes", "200h 199h59m 199h58m 3s 2s 1s", "3 4 5 6"},
		{"a clock that was a day ahead", "-24h -23h59m -23h58m -23h57m 3s 2s 1s", "5 6 7"},
		{"a clock that was in 1996 for a moment", "20m 19m 263000h 18m 3s 2s 1s", "1 2 4 5 6 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var kept []stamp
			number := 0
			words := strings.Fields(tt.come)
			for i := 0; i < len(words); i++ {
				ago, err := time.ParseDuration(words[i])
				if err != nil {
					t.Fatal(err)
				}
				n, every := 1, time.Duration(0)
				if i+1 < len(words) && words[i+1] == "x" {
					if _, err := fmt.Sscan(words[i+2], &n); err != nil {
						t.Fatal(err)
					}
					if every, err = time.ParseDuration(words[i+4]); err != nil {
						t.Fatal(err)
					}
					i += 4
				}
				for k := range n {
					at := noon.Add(time.Duration(k)*every - ago)
					number++
					kept = append(kept, stamp{number, at})
					now := at
					if at.After(noon) || ago > 1000*time.Hour {
						now = noon
					}
					kept = pruned(kept, 3, now)
				}
			}
			kept = pruned(kept, 3, noon)
			var got []string
			for _, s := range kept {
				got = append(got, fmt.Sprint(s.number))
			}
			if is := strings.Join(got, " "); is != tt.want {
				t.Errorf("kept %s, want %s", is, tt.want)
			}
		})
	}
}

func pruned(history []stamp, last int, now time.Time) []stamp {
	drop := expired(history, last, now)
	return slices.DeleteFunc(slices.Clone(history), func(s stamp) bool { return slices.Contains(drop, s.number) })
}

// TestRetentionOverWeeks simulates three weeks of churn, with calms and accidents, and holds what is left against what
// was there: of every minute, hour and day that counts, the last one, and the last one before anything went wrong.
func TestRetentionOverWeeks(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	end := now.Add(21 * 24 * time.Hour)
	var all, kept []stamp
	most := 0
	for now.Before(end) {
		switch rng.IntN(200) {
		case 0:
			now = now.Add(time.Duration(rng.IntN(int(6 * time.Hour)))) // a night
		case 1, 2:
			now = now.Add(calm + time.Duration(rng.IntN(int(time.Hour))))
		default:
			now = now.Add(time.Duration(rng.IntN(int(time.Minute))))
		}
		burst := 1
		if rng.IntN(100) == 0 {
			burst = 60
		}
		for range burst {
			s := stamp{len(all) + 1, now}
			all, kept = append(all, s), pruned(append(kept, s), 20, now)
			now = now.Add(time.Millisecond)
		}
		if most = max(most, len(kept)); len(all)%997 < 3 {
			for what, want := range wanted(all, 20, now) {
				if !slices.Contains(kept, want) {
					t.Fatalf("at %s generation %d of %s, %s, is not kept", now, want.number, want.time, what.why)
				}
			}
		}
	}
	if bound := (Config{History: 20}).MostKept(); most > bound || bound > 120 {
		t.Errorf("%d are kept, at most %d are said to be", most, bound)
	}
	t.Logf("%d generations, at most %d kept", len(all), most)
}

// due is why a stamp has to be kept: the last of a minute, an hour or a day, which begins then.
type due struct {
	why   string
	begin time.Time
}

// wanted is what a history has to have, found without forgetting anything.
func wanted(all []stamp, last int, now time.Time) map[due]stamp {
	want := map[due]stamp{}
	for i, s := range all {
		if i >= len(all)-last {
			want[due{why: fmt.Sprint("the last but ", len(all)-i)}] = s
		}
		if i+1 < len(all) && all[i+1].time.Sub(s.time) >= calm {
			want[due{why: "the last calm one"}], want[due{why: "what ended the calm"}] = s, all[i+1]
		}
		for _, t := range []struct {
			why         string
			every, keep time.Duration
		}{{"minute", time.Minute, time.Hour}, {"hour", time.Hour, 24 * time.Hour}, {"day", 24 * time.Hour, 168 * time.Hour}} {
			if now.Sub(s.time) < t.keep {
				want[due{t.why, s.time.Truncate(t.every)}] = s
			}
		}
	}
	return want
}
