package etcd

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/allocated"
	"swallowkeeper/internal/etcdtestserver"
	"swallowkeeper/upstream"
)

const (
	manyKeys     = 10_000
	perService   = 10
	mostReading  = 2 * time.Second
	mostOfMemory = 80 << 20
)

// instances are many keys with their values.
func instances(yield func(key, value string) bool) {
	for i := range manyKeys {
		value := fmt.Sprintf(`{"address":"10.%d.%d.%d:8080","weight":1,"healthy":true,"tags":["a"],"routes":["/svc-%d/*"]}`, i>>16, i>>8&0xff, i&0xff, i/perService)
		if !yield(key(fmt.Sprintf("svc-%d", i/perService), fmt.Sprint("node:", i)), value) {
			return
		}
	}
}

// A change of one key costs the same beside few others and beside many.
func TestCostIsFlat(t *testing.T) {
	cost := func(keys int) allocated.Memory {
		all := fill(t, nil)
		n := int64(0)
		for k, v := range instances {
			if n++; n > int64(keys) {
				break
			}
			all.put(pair{key: k, value: []byte(v), revision: n})
		}
		last := all.set()
		return allocated.By(100, func() {
			n++
			all.put(pair{key: key("svc-3", "node:30"), value: []byte(value(fmt.Sprintf("10.9.0.%d:80", 1+n%250))), revision: n})
			set := all.set()
			if set.Identical(last) {
				t.Fatal("nothing changed")
			}
			last = set
		})
	}
	allocated.Flat(t, "a change of one key", cost(100), cost(manyKeys))
}

// BenchmarkTenThousandKeys reads many keys of a real etcd, beside the floor of the same run: the bare reads. It fails where
// that takes longer, or more memory, than it may.
func BenchmarkTenThousandKeys(b *testing.B) {
	server := etcdtestserver.Start(b)
	c := dial(b, server.URL)
	var ops []clientv3.Op
	flush := func() {
		if _, err := c.Txn(b.Context()).Then(ops...).Commit(); err != nil {
			b.Fatal(err)
		}
		ops = nil
	}
	for k, v := range instances {
		if ops = append(ops, clientv3.OpPut(k, v)); len(ops) == 128 {
			flush()
		}
	}
	flush()
	var reads, floors []time.Duration
	var memory uint64
	for b.Loop() {
		began := time.Now()
		for from, more := "/swallowkeeper/services/", true; more; {
			resp, err := c.Get(b.Context(), from, clientv3.WithRange("/swallowkeeper/services0"), clientv3.WithLimit(page))
			if err != nil {
				b.Fatal(err)
			}
			if more = resp.More; more {
				from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
			}
		}
		floors = append(floors, time.Since(began))

		r, _ := open(b, server.URL, nil)
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithCancel(b.Context())
		began = time.Now()
		ended := make(chan struct{})
		first := make(chan upstream.Set, 1)
		go func() {
			defer close(ended)
			_ = r.Watch(ctx, func(s upstream.Set) {
				select {
				case first <- s:
				default:
				}
			})
		}()
		set := <-first
		reads = append(reads, time.Since(began))
		runtime.ReadMemStats(&now)
		memory = max(memory, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		if set.Servers() != manyKeys {
			b.Fatalf("%d servers", set.Servers())
		}
		cancel()
		<-ended
	}
	slices.Sort(reads)
	slices.Sort(floors)
	b.ReportMetric(float64(reads[len(reads)/2].Milliseconds()), "ms/read")
	b.ReportMetric(float64(floors[len(floors)/2].Milliseconds()), "ms/floor")
	b.ReportMetric(float64(memory)/(1<<20), "MB")
	if reads[len(reads)/2] > mostReading || memory > mostOfMemory {
		b.Errorf("%s and %d MB; at most %s and %d MB are allowed", reads[len(reads)/2], memory>>20, mostReading, mostOfMemory>>20)
	}
}

// BenchmarkPutToSet is the time from a put to the set that it makes, beside the floor of the same run: a bare watch.
func BenchmarkPutToSet(b *testing.B) {
	server := etcdtestserver.Start(b)
	c := dial(b, server.URL)
	bare := c.Watch(b.Context(), "/swallowkeeper/services/", clientv3.WithPrefix())
	r, _ := open(b, server.URL, nil)
	ctx, cancel := context.WithCancel(b.Context())
	sets, ended := make(chan upstream.Set, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Watch(ctx, func(s upstream.Set) { sets <- s })
	}()
	<-sets
	var ours, floor []time.Duration
	for i := 0; b.Loop(); i++ {
		<-time.After(least) // a change alone is told at once
		began := time.Now()
		if _, err := c.Put(b.Context(), key("web", "1"), value(fmt.Sprintf("10.0.%d.%d:80", 1+i/250%250, 1+i%250))); err != nil {
			b.Fatal(err)
		}
		for range 2 {
			select {
			case <-bare:
				floor = append(floor, time.Since(began))
			case <-sets:
				ours = append(ours, time.Since(began))
			}
		}
	}
	cancel()
	<-ended
	slices.Sort(ours)
	slices.Sort(floor)
	b.ReportMetric(float64(ours[len(ours)/2].Microseconds()), "µs/set")
	b.ReportMetric(float64(floor[len(floor)/2].Microseconds()), "µs/floor")
}
