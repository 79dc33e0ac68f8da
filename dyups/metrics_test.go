package dyups_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"swallowkeeper/dyups"
	"swallowkeeper/dyups/dyupstest"
)

func TestMetrics(t *testing.T) {
	r := prometheus.NewRegistry()
	m, err := dyups.NewMetrics(r)
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, dyupstest.Options{})
	c := dyups.DefaultConfig()
	c.Address = s.API()
	g := dyups.New(c, quiet(), dyups.WithMetrics(m, "edge"))
	defer func() { _ = g.Close() }()
	if _, err := g.Live(t.Context()); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got float64
	for _, f := range families {
		for _, series := range f.GetMetric() {
			if l := series.String(); strings.Contains(l, `"GET"`) && strings.Contains(l, `"2xx"`) {
				got += series.GetCounter().GetValue()
			}
		}
	}
	if got == 0 {
		t.Errorf("no call was counted: %v", families)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestNoMetrics(t *testing.T) {
	m, err := dyups.NewMetrics(nil)
	if m != nil || err != nil {
		t.Fatal(m, err)
	}
	_ = dyups.New(dyups.DefaultConfig(), quiet(), dyups.WithMetrics(m, "edge"))
}
