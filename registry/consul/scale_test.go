package consul

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"swallowkeeper/registry/consul/consultest"
	"swallowkeeper/upstream"
)

func manyServices(b testing.TB, d *double, services, instances int) {
	b.Helper()
	for i := range services {
		for j := range instances {
			d.register(b, registration(fmt.Sprintf("n%d", j), fmt.Sprintf("svc-%04d", i), fmt.Sprintf("s-%d-%d", i, j),
				fmt.Sprintf("10.%d.%d.%d", i/250, i%250, j+1), 80, "passing"))
		}
	}
}

// BenchmarkChange times one service's change from its registration to its publication,
// for a service that has a watch of its own and for one that has to be swept.
func BenchmarkChange(b *testing.B) {
	for _, services := range []int{10, 1000} {
		for _, swept := range []bool{false, true} {
			if swept && services == 10 {
				continue
			}
			b.Run(fmt.Sprintf("services=%d/swept=%t", services, swept), func(b *testing.B) {
				d := startDouble(b, consultest.Options{})
				manyServices(b, d, services, 10)
				r := newTestRegistry(b, testConfig(d.addr), silent())
				if swept {
					r.calm = time.Hour
				}
				w := run(b, r)
				w.until("all", func(s upstreamSet) bool { return s.Servers() == services*10 })
				name := "svc-0000"
				if swept {
					name = fmt.Sprintf("svc-%04d", services-1)
				}
				check := fmt.Sprintf("service:s-%d-0", map[bool]int{false: 0, true: services - 1}[swept])
				n := 10
				for b.Loop() {
					n = 19 - n
					status := map[int]string{10: "passing", 9: "critical"}[n]
					if err := d.SetCheck("n0", check, status); err != nil {
						b.Fatal(err)
					}
					w.servers(name, n)
				}
			})
		}
	}
}

// BenchmarkAssemble makes the set of 1,000 services.
func BenchmarkAssemble(b *testing.B) {
	d := startDouble(b, consultest.Options{})
	r := newTestRegistry(b, testConfig(d.addr), silent())
	w := newWatch(r, nil, room{}, nil)
	cfg := testConfig("")
	conv := converter{cfg: &cfg, origin: "here"}
	for i := range 1000 {
		name := fmt.Sprintf("svc-%04d", i)
		list, out := conv.service(name, nil)
		for j := range 10 {
			server := cfg.Defaults.All.Server()
			server.Addr, _ = upstream.ParseAddr(fmt.Sprintf("10.0.%d.%d", i%250, j+1), 80)
			list[0].Servers = append(list[0].Servers, server)
		}
		w.services[name] = &service{name: name, known: true, set: upstream.NewSet(list, out...)}
	}
	w.listed = true
	w.reorder()
	b.ReportAllocs()
	for b.Loop() {
		w.changes++
		if _, ok := w.assemble(); !ok {
			b.Fatal("not complete")
		}
	}
}

// TestMemory bounds what 1,000 services of 10 instances take here.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	d := startDouble(t, consultest.Options{})
	manyServices(t, d, tooMany, 10)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	w := run(t, newTestRegistry(t, testConfig(d.addr), silent()))
	w.until("all", func(s upstreamSet) bool { return s.Servers() == 10*tooMany })
	eventually(t, "the queries wait", func() bool { return d.Waiting() > 150 })
	used := int64(heap()) - int64(before)
	t.Logf("%.1f MB, with the double's part of 150 connections", float64(used)/1e6)
	if used > 25e6 {
		t.Errorf("%d bytes in use, want at most 25 MB", used)
	}
}
