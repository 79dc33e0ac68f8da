package consul

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus/hooks/test"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key, pem: encode("CERTIFICATE", der)}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue signs a certificate for the name and host, and returns it with its key as PEM.
func (a *authority) issue(name, host string) (cert, key []byte) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER)
}

// guarded is a double over https that wants client certificates, and notes whose came last.
type guarded struct {
	*double
	addr string

	mu      sync.Mutex
	trusted *x509.CertPool
	own     tls.Certificate
	last    string
	server  *httptest.Server
}

func startGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{double: startDouble(t, testOptions())}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.last = r.TLS.PeerCertificates[0].Subject.CommonName
		g.mu.Unlock()
		g.ServeHTTP(w, r)
	}))
	g.server.EnableHTTP2 = true
	g.server.Config.ErrorLog = discard()
	g.server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		return &tls.Config{
			Certificates: []tls.Certificate{g.own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: g.trusted,
			NextProtos: []string{"h2", "http/1.1"},
		}, nil
	}}
	g.server.StartTLS()
	g.addr = g.server.Listener.Addr().String()
	t.Cleanup(func() { g.server.CloseClientConnections(); g.server.Close() })
	return g
}

// become has the server show a certificate of one authority and trust clients of another, from the next connection on.
func (g *guarded) become(t *testing.T, shows, trusts *authority, host string) {
	t.Helper()
	pair, err := tls.X509KeyPair(shows.issue("server", host))
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own, g.trusted = pair, x509.NewCertPool()
	g.trusted.AddCert(trusts.cert)
}

// anew ends all connections.
func (g *guarded) anew() { g.server.CloseClientConnections() }

func (g *guarded) caller() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestCertificatesRenewed has every new connection use the certificates that are on disk then, and the last good ones
// while what is there can't be used.
func TestCertificatesRenewed(t *testing.T) {
	g := startGuarded(t)
	g.register(t, registration("n1", "web", "w1", "10.0.0.1", 80, "passing"))
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	g.become(t, first, first, "127.0.0.1")
	dir := t.TempDir()
	ca, certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, ca, first.pem)
	cert, key := first.issue("one", "client")
	writeFile(t, certFile, cert)
	writeFile(t, keyFile, key)
	t.Setenv(api.HTTPClientCert, certFile)
	t.Setenv(api.HTTPClientKey, keyFile)
	t.Setenv(api.HTTPCAFile, ca)
	log, logged := test.NewNullLogger()
	cfg := testConfig("https://" + g.addr)
	w := run(t, newTestRegistry(t, cfg, log))
	w.servers("web", 1)
	count := 1
	// reads has a change arrive over new connections, from the named client.
	reads := func(as string) {
		t.Helper()
		g.anew()
		count++
		g.register(t, registration("n1", "web", "w"+itoa(int64(count)), "10.0.0."+itoa(int64(count)), 80, "passing"))
		w.servers("web", count)
		eventually(t, "it calls as "+as, func() bool { return g.caller() == as })
	}
	warnings := func() (n int) {
		for _, e := range logged.AllEntries() {
			if strings.Contains(e.Message, "can't be read again: the last good one goes on") {
				n++
			}
		}
		return n
	}
	reads("one")

	cert, key = first.issue("two", "client")
	writeFile(t, keyFile, key) // the key comes first, and does not fit yet
	reads("one")
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings of a key without its certificate, want 1", n)
	}
	writeFile(t, certFile, cert[:len(cert)/2])
	reads("one")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	reads("one")
	writeFile(t, certFile, cert)
	reads("two")

	// The authority is replaced as it should be: first both, then the new one.
	writeFile(t, ca, append(append([]byte{}, first.pem...), second.pem...))
	g.become(t, second, first, "127.0.0.1")
	reads("two")
	writeFile(t, ca, []byte("half"))
	reads("two")
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	reads("two")
	writeFile(t, ca, second.pem)
	cert, key = second.issue("three", "client")
	writeFile(t, certFile, cert)
	writeFile(t, keyFile, key)
	g.become(t, second, second, "127.0.0.1")
	reads("three")

	// What is not to be trusted is not: another's certificate, and another name's.
	for _, bad := range []struct {
		by   *authority
		host string
		says string
	}{{first, "127.0.0.1", "unknown authority"}, {second, "127.0.0.2", "not 127.0.0.1"}, {second, "other.example", "127.0.0.1"}} {
		g.become(t, bad.by, second, bad.host)
		g.anew()
		expectTrouble(t, w.r, bad.says)
		g.become(t, second, second, "127.0.0.1")
		eventually(t, "no trouble", func() bool { return w.r.Condition().Trouble == nil })
	}
	reads("three")
}

// TestTokenFileUnreadable says once that the token goes on which was read last.
func TestTokenFileUnreadable(t *testing.T) {
	d := startDouble(t, testOptions())
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte("one"))
	cfg := testConfig(d.addr)
	cfg.TokenFile = file
	log, logged := test.NewNullLogger()
	r := newTestRegistry(t, cfg, log)
	for _, step := range []struct {
		write, want string
		lines       int
	}{{"", "one", 1}, {"", "one", 1}, {" \n", "one", 2}, {"two\n", "two", 3}} {
		writeFile(t, file, []byte(step.write))
		if got := r.endpoint.token(); got != step.want || len(logged.AllEntries()) != step.lines {
			t.Errorf("after %q: %q and %d lines, want %q and %d", step.write, got, len(logged.AllEntries()), step.want, step.lines)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Examine(t.Context()); err != nil {
		t.Errorf("without its file: %v", err)
	}
}
