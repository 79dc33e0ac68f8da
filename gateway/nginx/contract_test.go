package nginx_test

import (
	"os"
	"testing"

	"swallowkeeper/gateway/gatewaytest"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

func TestMain(m *testing.M) { os.Exit(gatewaytest.Main(m, gatewaytest.Double, gatewaytest.Real)) }

func TestContractOnDouble(t *testing.T) {
	gatewaytest.Run(t, gatewaytest.Double, func(t *testing.T) gatewaytest.Harness { return double(t).harness() })
}

func TestContractOnNginx(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx is installed here")
	}
	gatewaytest.Run(t, gatewaytest.Real, func(t *testing.T) gatewaytest.Harness { return debian(t).harness() })
}
