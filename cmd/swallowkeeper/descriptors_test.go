package main

import "testing"

func TestDescriptorsFor(t *testing.T) {
	for _, test := range []struct{ limit, registries, gateways, want int }{
		{0, 1, 1, 0},
		{256, 1, 1, 168},
		{1024, 1, 1, 936},
		{1024, 3, 1, 312},
		{1024, 1, 4, 864},
		{65536, 1, 1, 65448},
		{64, 1, 1, 5},
		{256, 2, 20, 5},
	} {
		if got := descriptorsFor(test.limit, test.registries, test.gateways); got != test.want {
			t.Errorf("%d open files, %d registries, %d gateways: %d each, want %d", test.limit, test.registries, test.gateways, got, test.want)
		}
	}
}
