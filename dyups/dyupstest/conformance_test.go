package dyupstest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/dyups/dyupstest/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) { conformance.Run(t, start) }

func TestTengineConformance(t *testing.T) {
	conformance.Run(t, conformance.Tengine)
}

func start(t *testing.T, c conformance.Config) conformance.Target {
	file := filepath.Join(t.TempDir(), "upstreams.conf")
	if err := os.WriteFile(file, []byte(c.Conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := dyupstest.New(dyupstest.Options{
		ConfFile: file, ReadMsgTimeout: c.ReadMsgTimeout, QueueBytes: c.QueueBytes,
		WorkerHeader: true, MaxConns: true, Variables: []string{"$host"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return conformance.Target{
		API: s.API(), Proxy: s.Proxy(), Workers: 4, Fragile: true,
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
			if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Reload(); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// TestLikeTengine holds this server against the real one, call by call.
func TestLikeTengine(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			conformance.Compare(t, conformance.Tengine, start, seed, 2000)
		})
	}
}
