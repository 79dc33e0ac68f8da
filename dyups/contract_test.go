package dyups_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/dyups/dyupstest/conformance"
	"swallowkeeper/gateway/gatewaytest"
)

func TestMain(m *testing.M) { os.Exit(gatewaytest.Main(m, gatewaytest.Double, gatewaytest.Real)) }

func TestContractOnDouble(t *testing.T) {
	gatewaytest.Run(t, gatewaytest.Double, conformance.Gateway(double))
}

func TestContractOnTengine(t *testing.T) {
	gatewaytest.Run(t, gatewaytest.Real, conformance.Gateway(conformance.Tengine))
}

func double(t *testing.T, c conformance.Config) conformance.Target {
	file := filepath.Join(t.TempDir(), "upstreams.conf")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(c.Conf)
	s := server(t, dyupstest.Options{ConfFile: file, ReadMsgTimeout: c.ReadMsgTimeout, WorkerHeader: true, MaxConns: true})
	return conformance.Target{
		API: s.API(), Workers: 4, Details: s.Details,
		Kill: func(t *testing.T, pid string) {
			for i, w := range s.Workers() {
				if strconv.Itoa(w.PID) == pid {
					s.CrashWorker(i)
					return
				}
			}
			t.Fatalf("no worker %s", pid)
		},
		Reload: func(t *testing.T, conf string) {
			write(conf)
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
		},
	}
}
