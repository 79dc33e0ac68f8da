package lua_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/loopback"
)

// certificate writes a certificate of its own signature and its key, NAME.pem and NAME.key.
func certificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{t: t}
	n.write(filepath.Join(dir, name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	n.write(filepath.Join(dir, name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// tellsWhose is a server that answers with the name and the client certificate that the request's
// connection was opened with, and with that connection's number.
func tellsWhose(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	certificate(t, dir, "good")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "good.pem"), filepath.Join(dir, "good.key"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of := "-"
		if list := r.TLS.PeerCertificates; len(list) > 0 {
			of = list[0].Subject.CommonName
		}
		_, _ = fmt.Fprint(w, r.TLS.ServerName, " ", of, " ", r.RemoteAddr)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// TestNoRequestOverAnothersConnection: upstreams that share a TLS address share no connection. With
// connections kept by default, as newer nginx has it, the same holds.
func TestNoRequestOverAnothersConnection(t *testing.T) {
	for _, kept := range []string{"", "keepalive 256; keepalive_timeout 1h; "} {
		t.Run("in dyups.conf: "+kept, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"a", "b"} {
				certificate(t, dir, name)
			}
			s := tellsWhose(t, dir)
			port := loopback.Free(t, 1)[0]
			location := func(path, more string) string {
				return "location " + path + ` { proxy_pass https://dyups; proxy_http_version 1.1; proxy_set_header Connection "";
					proxy_ssl_server_name on; ` + strings.ReplaceAll(more, "CERTS", dir) + " }\n"
			}
			n := start(t, options{
				workers: 1,
				http: "server { listen " + port + ";" +
					location("/host", "proxy_ssl_name $dyups_upstream;") +
					location("/a", "set $dyups_upstream a; proxy_ssl_certificate CERTS/a.pem; proxy_ssl_certificate_key CERTS/a.key;") +
					location("/b", "set $dyups_upstream a; proxy_ssl_certificate CERTS/b.pem; proxy_ssl_certificate_key CERTS/b.key;") +
					location("/trusting", "set $dyups_upstream a; proxy_ssl_name bad;") +
					location("/good", "set $dyups_upstream a; proxy_ssl_name good; proxy_ssl_verify on; proxy_ssl_trusted_certificate CERTS/good.pem;") +
					location("/bad", "set $dyups_upstream a; proxy_ssl_name bad; proxy_ssl_verify on; proxy_ssl_trusted_certificate CERTS/good.pem;") +
					"}",
				edit: func(conf string) string {
					return strings.Replace(conf, "keepalive_requests 1;", kept+"keepalive_requests 1;", 1)
				},
			})
			for _, name := range []string{"a", "b"} {
				n.post(name, servers([]string{s.Listener.Addr().String()}, ""))
			}
			seen := map[string]bool{}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for range 2 {
				for _, row := range []struct{ host, path, want string }{
					{"a", "/host", "a -"},
					{"b", "/host", "b -"},
					{"a", "/a", "dyups a"},
					{"a", "/b", "dyups b"},
					{"a", "/trusting", "bad -"},
					{"a", "/good", "good -"},
					{"a", "/bad", ""}, // its certificate is another name's
				} {
					got := ask(client, "http://"+port, row.host, row.path)
					if row.want == "" {
						if got.status != http.StatusBadGateway {
							t.Errorf("%s: %+v", row.path, got)
						}
						continue
					}
					if !strings.HasPrefix(got.body, row.want+" ") || seen[got.body] {
						t.Errorf("%s of %s: %+v, want %q over a connection of its own", row.path, row.host, got, row.want)
					}
					seen[got.body] = true
				}
			}
		})
	}
}

// TestKeptConnections: plain HTTP keeps its connections, and nothing else gets at them.
func TestKeptConnections(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.RemoteAddr) }))
	t.Cleanup(s.Close)
	port := loopback.Free(t, 1)[0]
	n := start(t, options{workers: 1, http: "server { listen " + port + `; set $dyups_upstream app;
		location /https { proxy_pass https://dyups_http; }
		location /scheme { set $s https; proxy_pass $s://dyups_http; }
		location /grpc { grpc_pass grpc://dyups_http; }
		location /fastcgi { fastcgi_pass dyups_http; }
		location /own { proxy_pass http://dyups; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}`})
	n.post("app", servers([]string{s.Listener.Addr().String()}, ""))
	first := ask(http.DefaultClient, n.proxy, "app", "/")
	if first.status != 200 {
		t.Fatalf("%+v", first)
	}
	for _, path := range []string{"/https", "/scheme", "/grpc", "/fastcgi"} {
		if got := ask(http.DefaultClient, "http://"+port, "app", path); got.status != http.StatusBadGateway {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if !strings.Contains(n.log(), "is for proxy_pass http:// alone") {
		t.Error("the error log does not say why")
	}
	if got := ask(http.DefaultClient, "http://"+port, "app", "/own"); got.status != 200 || got.body == first.body {
		t.Errorf("the upstream dyups used a kept connection: %+v", got)
	}
	if again := ask(http.DefaultClient, n.proxy, "app", "/"); again.body != first.body {
		t.Errorf("the connection was not kept: %+v, then %+v", first, again)
	}
}
