package bench

import (
	"testing"
	"time"
)

// between two changes lies some time, as in life: watches that wake all the time are paced.
const between = 200 * time.Millisecond

// change moves a service to its next server, and says after how many milliseconds the first request was served there, and
// after how many no worker used another.
func change(b *testing.B, c *catalog, g *gateway, name string) (first, last float64) {
	b.Helper()
	server := c.next(b, name)
	began := time.Now()
	await(b, name+" is at its new server", time.Minute, func() bool {
		n := g.serving(name, server)
		took := float64(time.Since(began).Microseconds()) / 1000
		if n > 0 && first == 0 {
			first = took
		}
		last = took
		return n == workers
	})
	return first, last
}

// floorChanges measures the floor in the same world, right before a program.
func (w *world) floorChanges(b *testing.B) {
	b.Helper()
	stop := startFloor(b, w.catalog, w.floor, w.way)
	defer stop()
	change(b, w.catalog, w.floor, floorHot)
	for range *changes {
		time.Sleep(between)
		first, last := change(b, w.catalog, w.floor, floorHot)
		w.floorFirst, w.floorLast = append(w.floorFirst, first), append(w.floorLast, last)
	}
	w.samples(Floor, "first", w.floorFirst, 50)
	w.samples(Floor, "last", w.floorLast, 99)
}

// hotChanges measures a service that changes again and again, and so is watched wherever anything is.
func (w *world) hotChanges(b *testing.B, s *subject) {
	b.Helper()
	for range 3 { // by then whoever watches some services only watches this one
		change(b, w.catalog, s.gateway, hot)
		time.Sleep(between)
	}
	var firsts, lasts []float64
	for range *changes {
		first, last := change(b, w.catalog, s.gateway, hot)
		firsts, lasts = append(firsts, first), append(lasts, last)
		time.Sleep(between)
	}
	w.samples(s.name, "first", firsts, 50)
	w.samples(s.name, "last", lasts, 99)

	// The cost: without looking more than it takes to know that the change is there.
	w.profiled(b, s, "change", func() {
		w.cost(b, s, 30, func() {
			server := w.catalog.next(b, hot)
			time.Sleep(between / 2)
			await(b, "a change", time.Minute, func() bool { return s.gateway.serving(hot, server) == workers })
			time.Sleep(between)
		})
	})
}

// coldChanges measures services that have not changed for long: where there are more services than watches, these have
// none. Two hundred others change before, so that those are watched instead.
func (w *world) coldChanges(b *testing.B, s *subject) {
	b.Helper()
	for i := range min(200, w.catalog.others) {
		w.catalog.touch(b, i)
	}
	s.inSync(b, 2*time.Minute)
	time.Sleep(2 * time.Second)
	var firsts, lasts []float64
	cold := 0
	w.profiled(b, s, "change", func() {
		w.cost(b, s, min(*changes, 20), func() {
			first, last := change(b, w.catalog, s.gateway, coldName(cold))
			firsts, lasts = append(firsts, first), append(lasts, last)
			cold++
			time.Sleep(between)
		})
	})
	w.samples(s.name, "first", firsts, 50)
	w.samples(s.name, "last", lasts, 99)
}

// cost measures what one of some changes costs, without what idling costs.
func (w *world) cost(b *testing.B, s *subject, count int, change func()) {
	b.Helper()
	before, consul := use(b, s.pid), use(b, w.catalog.server.PID())
	for range count {
		change()
	}
	cpu, kB, seconds := use(b, s.pid).since(before)
	theirs, _, _ := use(b, w.catalog.server.PID()).since(consul)
	n := float64(count)
	w.add(s.name, "change-cpu", max(0, cpu-w.idleCPU*seconds)/n)
	w.add(s.name, "change-consul-cpu", theirs/n)
	w.add(s.name, "change-written", kB/n)
}
