package lua_test

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"swallowkeeper/dyups/dyupstest/conformance"
	"swallowkeeper/gateway/gatewaytest"
)

func TestMain(m *testing.M) { os.Exit(gatewaytest.Main(m, gatewaytest.Real)) }

func TestConformance(t *testing.T) { conformance.Run(t, target) }

func TestContract(t *testing.T) { gatewaytest.Run(t, gatewaytest.Real, conformance.Gateway(target)) }

func target(t *testing.T, c conformance.Config) conformance.Target {
	o := options{upstreams: c.Conf}
	if c.QueueBytes > 0 {
		o.dict = strconv.Itoa(c.QueueBytes>>10) + "k"
	}
	n := start(t, o)
	return conformance.Target{
		API: n.api, Proxy: n.proxy, Workers: 4, Shared: true,
		Kill: func(t *testing.T, pid string) {
			t.Helper()
			p, err := strconv.Atoi(pid)
			if err != nil || p <= 1 {
				t.Fatalf("no pid: %q", pid)
			}
			if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
				t.Fatalf("kill the worker: %v", err)
			}
		},
		Reload: func(t *testing.T, conf string) {
			t.Helper()
			n.write(n.upstreams, conf)
			n.reload()
		},
	}
}
