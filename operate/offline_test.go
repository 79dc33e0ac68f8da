package operate

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/registry"
	"swallowkeeper/syncer"
	"swallowkeeper/upstream"
	"swallowkeeper/wiring"
)

// showing is a gateway that shows what it has.
type showing struct {
	gateway.Gateway
	live upstream.Set
}

func (s showing) Abilities() gateway.Abilities { return gateway.Abilities{} }

func (s showing) Live(context.Context) (gateway.Live, error) { return gateway.Live{Set: s.live}, nil }

func of(names ...string) upstream.Set {
	var list []upstream.Upstream
	for _, name := range names {
		s := upstream.DefaultTemplate().Server()
		s.Addr = netip.MustParseAddrPort("10.0.0.1:80")
		list = append(list, upstream.Upstream{Name: name, Servers: []upstream.Server{s}})
	}
	return upstream.NewSet(list)
}

// What is leaving and still there is not in sync; what an operator configured by hand is nothing of ours.
func TestAGatewayWithoutTheDaemon(t *testing.T) {
	gen := generation.Generation{Number: 3, Set: of("web", "shop"), Leaving: []string{"old"}}
	for name, test := range map[string]struct {
		live upstream.Set
		want bool
	}{
		"all of it":                 {of("web", "shop"), true},
		"something by hand beside":  {of("web", "shop", "handmade"), true},
		"too little":                {of("web"), false},
		"what was to leave as well": {of("web", "shop", "old"), false},
		"the same in other letters": {of("web", "shop", "Old"), false},
	} {
		g := gatewayNow(t.Context(), wiring.Target{Target: syncer.Target{Name: "g", Gateway: showing{live: test.live}, Written: &gateway.Written{}}}, gen)
		if g.InSync != test.want || g.InSync != (g.Error == "") || g.InSync != (g.Generation == 3) {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

// asked is a registry that explains.
type asked struct {
	mute
	findings []upstream.Finding
	err      error
}

func (a asked) Explain(context.Context, string) ([]upstream.Finding, error) { return a.findings, a.err }

// mute is one that does not.
type mute struct{ registry.Registry }

// A registry that does not explain may have what is asked for.
func TestExplainSaysWhatIsNotKnown(t *testing.T) {
	sources := []syncer.Source{
		{Name: "empty", Registry: asked{}},
		{Name: "full", Registry: asked{findings: []upstream.Finding{{Addr: "10.0.0.1:80", In: true}}}},
		{Name: "away", Registry: asked{err: errors.New("connection refused")}},
		{Name: "mute", Registry: mute{}},
	}
	instances, notes := Explain(t.Context(), sources, "web")
	var texts []string
	for _, n := range notes {
		texts = append(texts, n.String())
	}
	want := []string{
		"registry empty has nothing of this name now", "registry away: connection refused",
		"registry mute does not say why an instance is in or out",
	}
	if len(instances) != 1 || instances[0].Registry != "full" || !slices.Equal(texts, want) {
		t.Errorf("found %+v, noted %q", instances, notes)
	}
}

// TestDelivered: whoever asks about an upstream hears whether the file and each gateway have it.
func TestDelivered(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	st := syncer.Status{Generation: generation.Generation{Number: 7, Time: at}, Gateways: []syncer.GatewayStatus{
		{Name: "a", InSync: true, Generation: 7, Checked: at, Workers: make([]gateway.Worker, 2)},
		{Name: "b", InSync: true, Generation: 7, Checked: at},
		{Name: "c", InSync: true, Generation: 6, Checked: at},
		{Name: "d"},
		{Name: "e", Checked: at, Err: errors.New("connection refused")},
	}}
	var texts []string
	for _, n := range Delivered(st, "/x.conf") {
		texts = append(texts, n.String())
	}
	want := []string{
		"in /x.conf, generation 7 of 2026-01-02 03:04:05 UTC",
		"gateway a has generation 7, as its 2 workers showed at 2026-01-02 03:04:05 UTC",
		"gateway b has generation 7, as it showed at 2026-01-02 03:04:05 UTC",
		"gateway c shows generation 6, the newest is 7",
		"gateway d has not been asked yet",
		"gateway e is out of sync: connection refused",
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got %q, want %q", texts, want)
	}
}
