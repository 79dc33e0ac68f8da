package caddy_test

import (
	"os"
	"testing"

	"swallowkeeper/gateway/gatewaytest"
	"swallowkeeper/internal/caddytestserver"
)

func TestMain(m *testing.M) { os.Exit(gatewaytest.Main(m, gatewaytest.Double, gatewaytest.Real)) }

func TestContractOnDouble(t *testing.T) {
	for _, old := range []bool{false, true} {
		name := map[bool]string{false: "new", true: "old"}[old]
		t.Run(name, func(t *testing.T) {
			gatewaytest.Run(t, gatewaytest.Double, func(t *testing.T) gatewaytest.Harness { return double(t, old).harness() })
		})
	}
}

func TestContractOnDebian(t *testing.T) {
	binary := caddytestserver.Debian(t)
	gatewaytest.Run(t, gatewaytest.Real, func(t *testing.T) gatewaytest.Harness { return actual(t, binary).harness() })
}

func TestContractOnModule(t *testing.T) {
	binary := caddytestserver.Module(t)
	gatewaytest.Run(t, gatewaytest.Real, func(t *testing.T) gatewaytest.Harness { return actual(t, binary).harness() })
}
