package wiring

import "testing"

func TestDescriptorsFor(t *testing.T) {
	for _, test := range []struct{ limit, probes, registries, gateways, want int }{
		{0, 250, 1, 1, 0},
		{256, 16, 1, 1, 152},
		{256, 0, 1, 1, 168},
		{1024, 64, 1, 1, 872},
		{1024, 64, 3, 1, 290},
		{1024, 64, 1, 4, 800},
		{65536, 250, 1, 1, 65198},
		{64, 4, 1, 1, 5},
		{256, 16, 2, 20, 5},
	} {
		if got := descriptorsFor(test.limit, test.probes, test.registries, test.gateways); got != test.want {
			t.Errorf("%d open files, %d registries, %d gateways: %d each, want %d", test.limit, test.registries, test.gateways, got, test.want)
		}
	}
}

func TestProbesFor(t *testing.T) {
	for limit, want := range map[int]int{0: 250, 64: 4, 256: 16, 1024: 64, 65536: 250} {
		if got := probesFor(limit); got != want {
			t.Errorf("%d open files: %d, want %d", limit, got, want)
		}
	}
}
