package consul

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry/consul/consultest"
)

// crowd is a double with that many services of one instance each, in front of which connections are counted.
func crowd(t *testing.T, services int, opts consultest.Options) (*double, *httptest.Server, *counted) {
	t.Helper()
	s := consultest.New(opts)
	front := httptest.NewUnstartedServer(s)
	front.Config.ErrorLog = discard()
	count := &counted{Listener: front.Listener}
	front.Listener = s.Listener(count)
	t.Cleanup(func() { s.Close(); front.Close() })
	d := &double{Server: s, addr: front.Listener.Addr().String()}
	for i := range services {
		d.register(t, registration("n1", fmt.Sprintf("svc-%03d", i), fmt.Sprintf("i-%03d", i), "10.0.0.1", 1000+i, "passing"))
	}
	return d, front, count
}

func (l *counted) peak() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most
}

// besideRoom is what the server may count beyond the room: the heartbeat's connection, that of the question for the limit,
// and a few that we have closed and the server has not yet.
const besideRoom = 16

// TestHTTPS carries many queries on few connections where HTTP/2 is spoken, and keeps to the budget where a proxy
// speaks HTTP/1.1 only.
func TestHTTPS(t *testing.T) {
	const services = 400
	for _, test := range []struct {
		name  string
		http2 bool
		files int
		most  int
	}{
		{"HTTP/2", true, 0, ramp},
		{"HTTP/2, few open files", true, 10, 10},
		{"HTTP/1.1", false, 0, 160},
		{"HTTP/1.1, few open files", false, 30, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, front, count := crowd(t, services, consultest.Options{})
			front.EnableHTTP2 = test.http2
			front.StartTLS()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			writeFile(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))
			cfg := testConfig("https://" + d.addr)
			cfg.CAFile = ca
			r := newTestRegistry(t, cfg, silent())
			r.descriptors = test.files
			w := run(t, r)
			w.until("all", func(s upstreamSet) bool { return s.Servers() == services })
			d.register(t, registration("n2", "svc-399", "more", "10.0.0.2", 80, "passing"))
			w.servers("svc-399", 2)
			if most := count.peak(); most > test.most+besideRoom {
				t.Errorf("%d connections at once, want at most %d", most, test.most+besideRoom)
			}
			if err := r.Condition().Trouble; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFewOpenFiles says once that the limit of open files is in the way.
func TestFewOpenFiles(t *testing.T) {
	d, front, count := crowd(t, 60, consultest.Options{})
	front.Start()
	log, logged := test.NewNullLogger()
	r := newTestRegistry(t, testConfig(d.addr), log)
	r.descriptors = 20
	w := run(t, r)
	w.until("all", func(s upstreamSet) bool { return s.Servers() == 60 })
	d.register(t, registration("n1", "svc-more", "more", "10.0.0.2", 80, "passing"))
	w.servers("svc-more", 1)
	if most := count.peak(); most > 20+besideRoom {
		t.Errorf("%d connections at once", most)
	}
	n := 0
	for _, e := range logged.AllEntries() {
		if strings.Contains(e.Message, "LimitNOFILE") && e.Data["connections"] == 20 && e.Data["services"] == 60 {
			n++
		}
	}
	if n != 1 {
		t.Errorf("said %d times, want once", n)
	}
}

// TestCommandBesideADaemon has both come through, although the agent takes them for one client.
func TestCommandBesideADaemon(t *testing.T) {
	d, front, _ := crowd(t, 300, consultest.Options{})
	front.Start()
	all := func(s upstreamSet) bool { return s.Servers() == 300 }
	log, logged := test.NewNullLogger()
	run(t, newTestRegistry(t, testConfig(d.addr), log)).until("all, the daemon", all)
	beside := newTestRegistry(t, testConfig(d.addr), log)
	beside.beside = true
	run(t, beside).until("all, the command", all)
	for _, e := range logged.AllEntries() {
		if e.Level < logrus.InfoLevel {
			t.Errorf("said: %s %v", e.Message, e.Data)
		}
	}
}
