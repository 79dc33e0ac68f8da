package status_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"

	"swallowkeeper/reason"
	"swallowkeeper/status"
)

func TestTheTimelineKeepsTheNewest(t *testing.T) {
	tl := status.NewTimeline(3)
	var first uint64
	for i := range 10 {
		tl.Add(status.Event{Text: reason.Text(strconv.Itoa(i))})
		want := min(i+1, 3)
		got := tl.Newest(5)
		if i == 0 {
			first = got[0].ID
		}
		if len(got) != want || got[want-1].Text.String() != strconv.Itoa(i) || got[want-1].ID != first+uint64(i) {
			t.Fatalf("after %d it has %v", i, got)
		}
		for j, e := range got {
			if e.ID != got[0].ID+uint64(j) {
				t.Fatalf("after %d it has %v", i, got)
			}
		}
		if two := tl.Newest(2); len(two) != min(i+1, 2) || two[len(two)-1] != got[want-1] || two[0].ID != got[want-1].ID-uint64(len(two)-1) {
			t.Fatalf("after %d the newest are %v", i, two)
		}
	}
	if first >= 1<<53 {
		t.Errorf("a browser can't count from %d", first)
	}
}

func TestTheTimelineBefore(t *testing.T) {
	tl := status.NewTimeline(3)
	listening := tl.Subscribe(t.Context())
	before := []status.Event{{Text: reason.Text("0")}, {Text: reason.Text("1")}, {Text: reason.Text("2")}, {Text: reason.Text("3")}}
	tl.Before(before)
	tl.Add(status.Event{Text: reason.Text("4")})
	tl.Before(before) // there is something already
	got := tl.Newest(10)
	if len(got) != 3 || got[0].Text.String() != "2" || got[2].Text.String() != "4" || got[0].ID != 2 || got[2].ID <= 3 {
		t.Errorf("it has %+v", got)
	}
	if e := <-listening; e.Text.String() != "4" {
		t.Errorf("a listener is told of %+v", e)
	}
}

func TestASlowListenerLosesTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tl := status.NewTimeline(3)
		ctx, cancel := context.WithCancel(t.Context())
		events := tl.Subscribe(ctx)
		const all = 1000
		for i := range all {
			tl.Add(status.Event{Text: reason.Text(strconv.Itoa(i))})
		}
		cancel()
		synctest.Wait()
		var got []status.Event
		for e := range events {
			got = append(got, e)
		}
		if n := len(got); n == 0 || n == all || got[n-1].Text.String() != strconv.Itoa(all-1) || got[n-1].ID-got[0].ID != uint64(n-1) {
			t.Errorf("it read %d events", n)
		}
		tl.Add(status.Event{}) // to nobody: a closed channel would panic
	})
}
