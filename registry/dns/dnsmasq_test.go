package dns

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"swallowkeeper/internal/loopback"
	"swallowkeeper/internal/suite"
	"swallowkeeper/registry/registrytest"
)

// dnsmasq is a real name server for the zone sk.test. What it answers is what its options say: a change starts it again.
type dnsmasq struct {
	t       testing.TB
	addr    string
	conf    string
	program string
	names   map[string][]string
	cmd     *exec.Cmd
}

func dnsmasqProgram(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"dnsmasq", "/usr/sbin/dnsmasq"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	suite.Absent(t, "no dnsmasq here: scripts/setup-tests.sh installs dnsmasq-base on Debian")
	return ""
}

func startDnsmasq(t testing.TB) *dnsmasq {
	t.Helper()
	program := dnsmasqProgram(t)
	m := &dnsmasq{t: t, addr: loopback.Free(t, 1)[0], conf: filepath.Join(t.TempDir(), "conf"), program: program, names: map[string][]string{}}
	t.Cleanup(m.stop)
	m.start()
	return m
}

// set gives a name of sk.test its records, as the double takes them; with none it exists all the same.
func (m *dnsmasq) set(name string, records ...string) {
	m.t.Helper()
	m.names[name] = records
	m.restart()
}

func (m *dnsmasq) remove(name string) {
	m.t.Helper()
	delete(m.names, name)
	m.restart()
}

func (m *dnsmasq) restart() {
	m.t.Helper()
	if m.cmd != nil { // otherwise it is to stay down
		m.stop()
		m.start()
	}
}

func (m *dnsmasq) options() string {
	host, port, _ := net.SplitHostPort(m.addr)
	lines := []string{
		"listen-address=" + host, "port=" + port, "bind-interfaces", "no-resolv", "no-hosts", "no-poll", "local=/sk.test/", "local-ttl=600",
		"edns-packet-max=4096", "txt-record=ready.sk.test,yes",
	}
	for name, records := range m.names {
		lines = append(lines, "txt-record="+name+",it exists")
		for _, text := range records {
			f := strings.Fields(text)
			switch f[0] {
			case "A", "AAAA":
				lines = append(lines, "host-record="+name+","+f[1])
			case "SRV":
				lines = append(lines, fmt.Sprintf("srv-host=%s,%s,%s,%s,%s", name, f[4], f[3], f[1], f[2]))
			case "CNAME":
				lines = append(lines, "cname="+name+","+f[1])
			default:
				m.t.Fatalf("no way to have dnsmasq answer %s", text)
			}
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func (m *dnsmasq) start() {
	m.t.Helper()
	if err := os.WriteFile(m.conf, []byte(m.options()), 0o600); err != nil {
		m.t.Fatal(err)
	}
	log, err := os.Create(m.conf + ".log")
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd = exec.Command(m.program, "--keep-in-foreground", "--conf-file="+m.conf, "--pid-file=", "--user=", "--log-facility=-")
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	ask := new(dns.Msg).SetQuestion("ready.sk.test.", dns.TypeTXT)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if got, err := dns.Exchange(ask, m.addr); err == nil && len(got.Answer) == 1 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			said, _ := os.ReadFile(log.Name())
			m.t.Fatalf("dnsmasq does not answer: %s", said)
		}
	}
}

func (m *dnsmasq) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

func (m *dnsmasq) signal(s syscall.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

func TestContractOnDnsmasq(t *testing.T) {
	for name, breaks := range map[string][2]func(m *dnsmasq){
		"killed": {(*dnsmasq).stop, (*dnsmasq).start},
		"paused": {func(m *dnsmasq) { m.signal(syscall.SIGSTOP) }, func(m *dnsmasq) { m.signal(syscall.SIGCONT) }},
	} {
		t.Run(name, func(t *testing.T) {
			registrytest.Run(t, registrytest.Real, func(t *testing.T) registrytest.Harness {
				m := startDnsmasq(t)
				r, _ := open(t, m.addr, suiteNames)
				b := board{}
				write := func(service string) {
					if records, exists := b.records(service); exists {
						m.set(service+".sk.test", records...)
					} else {
						m.remove(service + ".sk.test")
					}
				}
				return registrytest.Harness{
					Registry: r, Origin: "dc", Patience: patience, UsableOnly: true,
					Register:   func(_ *testing.T, i registrytest.Instance) { b.register(i); write(i.Service) },
					Deregister: func(_ *testing.T, i registrytest.Instance) { b.deregister(i); write(i.Service) },
					Break:      func(t *testing.T) { breaks[0](m); awaitTrouble(t, r) },
					Mend:       func(*testing.T) { breaks[1](m) },
				}
			})
		})
	}
}
