package dyups

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSlab(t *testing.T) {
	for n, want := range map[int]int{
		0: 0, 1: 8, 8: 8, 9: 16, 72: 128, 900: 1024, 1024: 1024, 1025: 2048, 2048: 2048, 2049: 4096, 4096: 4096, 4097: 8192,
		34_000: 36_864,
	} {
		if got := slab(n); got != want {
			t.Errorf("slab(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(64<<10, time.Second)
		if p.full(10, 1<<20) {
			t.Error("what is bigger than the budget never goes")
		}
		n := 0
		for ; n < 1000 && !p.full(10, 900); n++ {
			p.charge(10, 900)
		}
		if n < 15 || n*cost(10, 900) > 32<<10 {
			t.Errorf("%d changes", n)
		}
		p.drained()
		if p.full(10, 900) {
			t.Error("full although drained")
		}
		for range n {
			p.charge(10, 900)
		}
		if !p.full(10, 900) {
			t.Error("not full")
		}
		time.Sleep(3 * time.Second)
		if p.full(10, 900) {
			t.Error("full although every worker's timer went off")
		}
	})
}
