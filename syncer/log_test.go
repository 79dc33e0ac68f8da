package syncer

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/guard"
	"swallowkeeper/reason"
	"swallowkeeper/upstream"
)

func outs(n int) upstream.Outs {
	var list []upstream.Out
	for i := range n {
		list = append(list, upstream.Out{Service: "web", Upstream: "web", Addr: fmt.Sprintf("10.0.0.1:%d", i+1), Reason: reason.Text("critical")})
	}
	return upstream.NewOuts(list...)
}

func TestLogOutSaysWhatIsNewAlone(t *testing.T) {
	log, hook := test.NewNullLogger()
	logOut(log, outs(3), outs(4))
	if got := hook.AllEntries(); len(got) != 1 || got[0].Data["addr"] != "10.0.0.1:4" {
		t.Errorf("%v", got)
	}
	hook.Reset()
	before, now := slices.Collect(outs(1).All()), slices.Collect(outs(1).All())
	before[0].Output, now[0].Output = "503", "502"
	if logOut(log, upstream.NewOuts(before...), upstream.NewOuts(now...)); hook.LastEntry() != nil {
		t.Errorf("another output alone: %v", hook.LastEntry().Data)
	}
	now[0].Instance, now[0].Node = "web-1", "n1"
	logOut(log, upstream.Outs{}, upstream.NewOuts(now...))
	if d := hook.LastEntry().Data; d["instance"] != "web-1" || d["node"] != "n1" || d["output"] != "502" || d["reason"] != "critical" {
		t.Errorf("%v", d)
	}
	hook.Reset()
	logOut(log, upstream.Outs{}, outs(mostLines+7))
	if got := hook.LastEntry().Message; got != "and 7 left out more" {
		t.Errorf("%q", got)
	}
}

// Half of 20,000 instances are critical: each decision compares what is out.
func BenchmarkLogOut(b *testing.B) {
	log, _ := test.NewNullLogger()
	before, now := outs(10_000), outs(10_000)
	for b.Loop() {
		logOut(log, before, now)
	}
}

// TestAHoldAndItsNotesAreOne reads the status whenever something is logged: a hold without the notes on its instances
// would call each of them deregistered.
func TestAHoldAndItsNotesAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("web: 1 2 3 4 5")
		w.pass(time.Minute)
		w.log.Reset()
		seen := 0
		w.syncer.parts.Log.(*logrus.Logger).AddHook(onLog(func() {
			st := w.syncer.Status()
			if seen++; (len(st.Holds) > 0) != (st.Out.Servers() > 0) {
				t.Errorf("%d holds beside %d notes", len(st.Holds), st.Out.Servers())
			}
		}))
		w.registries[0].sets <- set("web: 5").AlsoOut(slices.Collect(outs(4).All())...)
		w.pass(time.Minute)
		if st := w.syncer.Status(); seen < 2 || len(st.Holds) != 1 || st.Out.Servers() != 4 {
			t.Errorf("after %d lines: %d holds, %d notes", seen, len(st.Holds), st.Out.Servers())
		}
	})
}

// onLog is a hook that is called at each line.
type onLog func()

func (f onLog) Levels() []logrus.Level   { return logrus.AllLevels }
func (f onLog) Fire(*logrus.Entry) error { f(); return nil }
