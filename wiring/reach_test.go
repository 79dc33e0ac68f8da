package wiring

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/guard"
	"swallowkeeper/reason"
)

func TestReachKnowsNames(t *testing.T) {
	log, said := test.NewNullLogger()
	r := newReach(guard.DefaultConfig(), []endpoint{
		{of: ofRegistry.With("a"), host: "consul.example", port: "8500"},
		{of: ofRegistry.With("b"), host: "lost.example", port: "8500"},
		{of: statusPage.With(), host: "", port: "9180"},
		{of: ofInterface.With("gw"), host: "LocalHost", port: "18882"},
		{of: reason.Text("nobody knows"), host: "127.0.0.1", port: "0"},
	}, log)
	r.locals = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.ParseIP("10.0.0.5"), Mask: net.CIDRMask(24, 32)}}, nil
	}
	r.lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "consul.example" {
			return []netip.Addr{netip.MustParseAddr("::ffff:10.7.7.7")}, nil
		}
		return nil, errors.New("no such host")
	}
	for addr, want := range map[string]string{
		"10.7.7.7:8500": "registry a", "10.7.7.8:8500": "", "127.0.0.1:9180": "the status page", "10.0.0.5:9180": "the status page",
		"[::1]:18882": "the interface of gateway gw", "10.0.0.5:18882": "the interface of gateway gw", "10.0.0.6:18882": "",
	} {
		if got := r.now().Refuses(netip.MustParseAddrPort(addr)).String(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if len(said.AllEntries()) != 1 || !strings.Contains(said.LastEntry().Message, "the address of registry b is not known") {
		t.Errorf("the log says %v", said.AllEntries())
	}
}
