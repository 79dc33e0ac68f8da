package nginx_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/gateway/nginx"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/setting"
)

// certificate writes a certificate that signs itself and its key, and returns the paths of both.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &k.PublicKey, k)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	must(t, err)
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return cert, key
}

// TestVerifyByTLS: nginx is asked over TLS as the server of that name, by who it wants, and whoever is not nginx, or is not let in,
// proves nothing.
func TestVerifyByTLS(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		t.Skip("no nginx is installed here")
	}
	r := newRig(t)
	home := filepath.Dir(r.dir)
	r.addr, r.pid = nginxtest.Free(t), filepath.Join(home, "pid")
	cert, key := certificate(t, home, "shop.example")
	mine, myKey := certificate(t, home, "keeper.example")
	other, _ := certificate(t, home, "other.example")
	tls := " ssl;\nserver_name shop.example; ssl_certificate " + cert + "; ssl_certificate_key " + key + ";"
	nginxtest.StartMaster(t, nginxtest.Nginx, home, "user root; worker_processes 2;",
		r.includes(r.addr+tls+" ssl_client_certificate "+mine+"; ssl_verify_client on")+
			"server { listen "+r.addr+" ssl default_server; ssl_certificate "+cert+"; ssl_certificate_key "+key+"; return 404; }\n", r.addr)
	r.begin(t, nginx.System())
	verify := "https://" + r.between.Addr().String() + "/.swallowkeeper/generation"
	made := func(change func(*nginx.Config)) *nginx.Gateway {
		return r.gateway(t, func(c *nginx.Config) {
			c.Verify, c.CA, c.Cert, c.Key, c.TLSServerName = verify, cert, mine, myKey, "shop.example"
			change(c)
		})
	}
	g := made(func(*nginx.Config) {})
	for _, server := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		want := set(with(t, "web", server))
		must(t, change(t, g, want))
		has(t, g, want)
	}
	if x, err := g.Examine(t.Context()); err != nil || len(x.Findings) > 0 {
		t.Errorf("doctor is told %+v, %v", x, err)
	}
	for _, tt := range []struct {
		name, want string
		change     func(*nginx.Config)
	}{
		{"another authority", "unknown authority", func(c *nginx.Config) { c.CA = other }},
		{"another name", "other.example", func(c *nginx.Config) { c.TLSServerName = "other.example" }},
		{"no name", "doesn't contain any IP SANs", func(c *nginx.Config) { c.TLSServerName = "" }},
		{"no file", "ca: open", func(c *nginx.Config) { c.CA = home + "/nothing.pem" }},
		{"a key in its place", "has no certificate in PEM", func(c *nginx.Config) { c.CA = key }},
		{"a key of another", "cert and key", func(c *nginx.Config) { c.Key = key }},
		{"by HTTP", "400 Bad Request", func(c *nginx.Config) { c.Verify = strings.Replace(verify, "https", "http", 1) }},
		{"nobody", "400 Bad Request", func(c *nginx.Config) { c.Cert, c.Key = "", "" }},
		{"somebody else", "400 Bad Request", func(c *nginx.Config) { c.Cert, c.Key = cert, key }},
	} {
		g := made(tt.change)
		live, err := g.Live(t.Context())
		if err != nil {
			says(t, err, tt.want)
			continue
		}
		x, _ := g.Examine(t.Context())
		if live.Set.Servers() > 0 || len(x.Findings) != 1 || !strings.Contains(x.Findings[0].What, tt.want) {
			t.Errorf("%s: nginx is believed: %+v, doctor is told %+v", tt.name, live, x.Findings)
		}
	}
}

// TestTLSKeysTogether: a key that leads to nothing without another one is refused.
func TestTLSKeysTogether(t *testing.T) {
	for key, change := range map[string]func(*nginx.Config){
		"key":             func(c *nginx.Config) { c.Verify, c.Cert = "https://a/", "c" },
		"cert":            func(c *nginx.Config) { c.Verify, c.Key = "https://a/", "k" },
		"ca":              func(c *nginx.Config) { c.CA = "a" },
		"tls_server_name": func(c *nginx.Config) { c.TLSServerName = "a" },
	} {
		c := nginx.DefaultConfig()
		change(&c)
		var wrong *setting.Error
		if _, err := c.New(gateway.Deps{Log: quiet()}); !errors.As(err, &wrong) || wrong.Key != key {
			t.Errorf("%s: %v", key, err)
		}
	}
	c := nginx.DefaultConfig()
	c.Verify, c.CA, c.Cert, c.Key, c.TLSServerName = "https://a/", "a", "c", "k", "a"
	if _, err := c.New(gateway.Deps{Log: quiet()}); err != nil {
		t.Error(err)
	}
}
