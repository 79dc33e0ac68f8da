package syncer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"swallowkeeper/gateway"
	"swallowkeeper/generation"
	"swallowkeeper/guard"
)

// metered has the world measured from its start on.
func (w *world) metered(upstreams bool) *prometheus.Registry {
	w.t.Helper()
	r := prometheus.NewRegistry()
	m, err := NewMetrics(r, func() (Status, bool) {
		if w.syncer == nil {
			return Status{}, false
		}
		return w.syncer.Status(), true
	}, func() bool { return upstreams })
	if err != nil {
		w.t.Fatal(err)
	}
	w.told.also = m.Observe
	return r
}

func wantMetrics(t *testing.T, r *prometheus.Registry, want string) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			name := f.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			got[fmt.Sprint(name, " ", value)] = true
		}
	}
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" && !got[line] {
			t.Errorf("not measured: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("measured: %v", got)
	}
}

// checkFailed is as the store says that its check failed.
type checkFailed struct{}

func (checkFailed) Error() string     { return "it fails" }
func (checkFailed) CheckFailed() bool { return true }

func TestMetrics(t *testing.T) {
	run(t, "what is true and what happened", 1, 1, func(t *testing.T, w *world) {
		r := w.metered(true)
		wantMetrics(t, r, `swallowkeeper_orders_total{kind="approved"} 0`)
		w.gateways[0].workers = []gateway.Worker{{ID: "7"}, {ID: "8", Err: errors.New("behind")}}
		w.start(guard.DefaultConfig())
		defer w.stop()
		w.registries[0].publish("a: 1 2 3, b: 5")
		w.pass(time.Minute)
		wantMetrics(t, r, `
			swallowkeeper_in_step 1
			swallowkeeper_generation 1
			swallowkeeper_upstreams 2
			swallowkeeper_servers 4
			swallowkeeper_instances_out 0
			swallowkeeper_freezes 0
			swallowkeeper_conf_file_ok 1
			swallowkeeper_holds{rule="max_removal"} 0
			swallowkeeper_holds{rule="min_services"} 0
			swallowkeeper_registry_up{registry="r"} 1
			swallowkeeper_gateway_in_step{gateway="A"} 1
			swallowkeeper_gateway_generation{gateway="A"} 1
			swallowkeeper_gateway_live_upstreams{gateway="A"} 2
			swallowkeeper_gateway_live_servers{gateway="A"} 4
			swallowkeeper_gateway_worker_in_step{gateway="A",worker="7"} 1
			swallowkeeper_gateway_worker_in_step{gateway="A",worker="8"} 0
			swallowkeeper_upstream_servers{upstream="a"} 3
			swallowkeeper_upstream_changes_total{kind="added"} 2
			swallowkeeper_server_changes_total{kind="in"} 4
			swallowkeeper_conf_file_writes_total 1
			swallowkeeper_change_written_seconds 1
			swallowkeeper_change_pushed_seconds{gateway="A"} 1
			swallowkeeper_change_on_all_workers_seconds{gateway="A"} 1
			swallowkeeper_conf_file_errors_total{stage="check"} 0
		`)
		w.registries[0].publish("b: 6")
		w.pass(soon)
		wantMetrics(t, r, `
			swallowkeeper_holds{rule="max_removal"} 1
			swallowkeeper_held_servers 4
		`)
		w.do(Approve(first(w.syncer.Status().Holds).ID))
		w.do(Freeze(generation.Freeze{}))
		w.pass(soon)
		w.gateways[0].setFail(errors.New("down"))
		w.pass(time.Minute)
		wantMetrics(t, r, `
			swallowkeeper_in_step 0
			swallowkeeper_gateway_in_step{gateway="A"} 0
			swallowkeeper_upstream_changes_total{kind="removed"} 1
			swallowkeeper_server_changes_total{kind="out"} 4
			swallowkeeper_orders_total{kind="approved"} 1
			swallowkeeper_orders_total{kind="frozen"} 1
		`)
		w.do(Unfreeze(""))
		w.store.setFail(fmt.Errorf("save it: %w", checkFailed{}))
		w.registries[0].publish("b: 6 7")
		w.pass(time.Minute)
		w.store.setFail(errors.New("the disk is full"))
		w.pass(time.Minute)
		wantMetrics(t, r, `
			swallowkeeper_conf_file_ok 0
			swallowkeeper_conf_file_errors_total{stage="check"} 1
			swallowkeeper_conf_file_errors_total{stage="write"} 1
		`)
		if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
			t.Errorf("promlint: %v, %v", problems, err)
		}
	})
}
