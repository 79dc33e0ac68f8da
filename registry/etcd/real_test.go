package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/internal/etcdtestserver"
)

// etcdctl does operations on a real one, again where its members were choosing a leader.
func etcdctl(t *testing.T, c *clientv3.Client, ops ...clientv3.Op) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, err := c.Txn(ctx).Then(ops...).Commit()
		if err == nil {
			return
		}
		if ctx.Err() != nil || !leaderless(err) {
			t.Fatal(err)
		}
	}
}

// quickTo is a registry of a real one that asks a silent watch soon.
func quickTo(t *testing.T, server string, change func(*Config)) *Registry {
	t.Helper()
	r, _ := open(t, server, change)
	r.silence, r.again = 300*time.Millisecond, 50*time.Millisecond
	return r
}

// The real one comes back empty, with the same IDs, and says of a watch from the old revision that it is created.
func TestRealEmptied(t *testing.T) {
	server := etcdtestserver.Start(t)
	c := dial(t, server.URL)
	for i := range 10 {
		etcdctl(t, c, clientv3.OpPut(key("web", fmt.Sprint(i%2)), value(fmt.Sprintf("10.0.0.%d:80", 1+i%2))))
	}
	r := quickTo(t, server.URL, nil)
	w := begin(t, r)
	w.until("web[10.0.0.1:80 10.0.0.2:80]")
	before := time.Now()
	server.Lose()
	w.condition("a loss that is told", func() bool { return r.Condition().Lapsed.After(before) })
	etcdctl(t, c, clientv3.OpPut(key("web", "9"), value("10.0.0.9:80")))
	w.until("web[10.0.0.9:80]")
	w.well()
}

func TestRealCompactedWhileCutOff(t *testing.T) {
	server := etcdtestserver.Start(t)
	c := dial(t, server.URL)
	etcdctl(t, c, clientv3.OpPut(key("web", "1"), value("10.0.0.1:80")))
	r := quickTo(t, server.URL, nil)
	stop := cutOff(t, r, server.URL)
	w := begin(t, r)
	w.until("web[10.0.0.1:80]")
	mend := stop()
	w.condition("trouble", func() bool { return r.Condition().Trouble != nil })
	for i := range 10 {
		etcdctl(t, c, clientv3.OpPut(key("web", "1"), value(fmt.Sprintf("10.0.0.%d:80", 1+i))))
	}
	if _, err := c.Compact(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	mend()
	w.until("web[10.0.0.10:80]")
	etcdctl(t, c, clientv3.OpDelete(key("web", "1")), clientv3.OpPut(key("web", "2"), value("10.0.0.2:80")))
	w.until("web[10.0.0.2:80]")
}

// cutOff has a registry reach its server by a proxy that can be cut. What it returns cuts and returns what mends.
func cutOff(t *testing.T, r *Registry, server string) (cut func() (mend func())) {
	t.Helper()
	to := strings.TrimPrefix(server, "http://")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	r.cfg.Address = []string{"http://" + address}
	serve := func(l net.Listener) (end func()) {
		conns := make(chan net.Conn, 100)
		go func() {
			defer close(conns)
			for {
				a, err := l.Accept()
				if err != nil {
					return
				}
				b, err := net.Dial("tcp", to)
				if err != nil {
					a.Close()
					continue
				}
				conns <- a
				conns <- b
				go func() { _, _ = copyConn(b, a) }()
				go func() { _, _ = copyConn(a, b) }()
			}
		}()
		return func() {
			l.Close()
			for c := range conns {
				c.Close()
			}
		}
	}
	end := serve(l)
	t.Cleanup(func() { end() })
	return func() func() {
		end()
		end = func() {}
		return func() {
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			end = serve(l)
		}
	}
}

func copyConn(to, from net.Conn) (int64, error) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return 0, err
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return 0, err
		}
	}
}

// With two of three gone the watch would be silent; the last set stays, and it is told.
func TestRealQuorumLost(t *testing.T) {
	all := etcdtestserver.Cluster(t, 3)
	c := dial(t, all[0].URL)
	etcdctl(t, c, clientv3.OpPut(key("web", "1"), value("10.0.0.1:80")))
	var urls []string
	for _, s := range all {
		urls = append(urls, s.URL)
	}
	r := quickTo(t, urls[0], func(c *Config) { c.Address = urls })
	w := begin(t, r)
	w.until("web[10.0.0.1:80]")
	all[1].Stop()
	etcdctl(t, c, clientv3.OpPut(key("web", "2"), value("10.0.0.2:80")))
	w.until("web[10.0.0.1:80 10.0.0.2:80]")
	w.well()
	all[2].Stop()
	w.trouble("no leader for ")
	if n := len(w.all()); n != 2 {
		t.Errorf("%d sets", n)
	}
	all[1].StartAgain()
	all[2].StartAgain()
	all[0].Await()
	w.well()
	etcdctl(t, c, clientv3.OpPut(key("web", "3"), value("10.0.0.3:80")))
	w.until("web[10.0.0.1:80 10.0.0.2:80 10.0.0.3:80]")
}

func TestRealAuthentication(t *testing.T) {
	server := etcdtestserver.Start(t, "--auth-token-ttl=1")
	c := dial(t, server.URL)
	etcdctl(t, c, clientv3.OpPut(key("web", "1"), value("10.0.0.1:80")))
	none := quickTo(t, server.URL, nil)
	unnamed := begin(t, none)
	unnamed.until("web[10.0.0.1:80]")
	server.Lock(t, "reader")
	unnamed.trouble("needs username and password_file")
	if n := len(unnamed.all()); n != 1 {
		t.Errorf("%d sets", n)
	}
	user := func(text string) *watching {
		path := password(t, text)
		return begin(t, quickTo(t, server.URL, func(c *Config) { c.Username, c.PasswordFile = "sk", path }))
	}
	user("wrong").trouble("refuses user sk with the password of ")
	right := user("s3cret")
	right.trouble("user sk may not read /swallowkeeper/services/: etcdctl role grant-permission ROLE read --prefix /swallowkeeper/services/")
	server.Grant(t, "reader", "/swallowkeeper/", clientv3.PermissionType(clientv3.PermRead))
	right.until("web[10.0.0.1:80]")
	right.well()
	asked := right.r.Condition().Heard
	right.condition("an answer after the token's end", func() bool { return right.r.Condition().Heard.Sub(asked) > 2500*time.Millisecond })
	right.well()
	etcdctl(t, server.Root(t), clientv3.OpPut(key("web", "2"), value("10.0.0.2:80")))
	right.until("web[10.0.0.1:80 10.0.0.2:80]")
}

// Each wrong port and protocol has its answer. The peers' port of version 3.4 speaks gRPC like the client port.
func TestRealWrongPort(t *testing.T) {
	server := etcdtestserver.Start(t)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for address, says := range map[string]string{
		web.URL: "does not speak etcd's gRPC: write https:// where it has TLS, and give the client port (2379), not the peer's",
		strings.Replace(server.URL, "http:", "https:", 1): "ends the handshake of TLS: write http:// where it has none",
	} {
		begin(t, quickTo(t, address, nil)).trouble(says)
	}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign writes NAME.pem and NAME-key.pem.
func (a *authority) sign(name string, c *x509.Certificate) (cert, key string) {
	a.t.Helper()
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		a.cert, a.key, parent, signer = c, made, c, made
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &made.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(made)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+"-key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return cert, key
}

func TestRealTLS(t *testing.T) {
	a := newAuthority(t)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert, secret := a.sign("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: both})
	mine, mySecret := a.sign("client", &x509.Certificate{Subject: pkix.Name{CommonName: "sk"}, ExtKeyUsage: both})
	ca := filepath.Join(a.dir, "ca.pem")
	server := etcdtestserver.Start(t, "--cert-file="+cert, "--key-file="+secret, "--client-cert-auth", "--trusted-ca-file="+ca)
	right := func(c *Config) { c.CA, c.Cert, c.Key = ca, mine, mySecret }
	w := begin(t, quickTo(t, server.URL, right))
	w.until("")
	w.well()
	begin(t, quickTo(t, server.URL, func(c *Config) { c.CA = ca })).trouble("set cert and key")
	begin(t, quickTo(t, server.URL, func(c *Config) { c.Cert, c.Key = mine, mySecret })).trouble("unknown authority: set ca")
	plain, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	plain.Scheme = "http"
	begin(t, quickTo(t, plain.String(), nil)).trouble("write https:// where it has TLS")
}

// Chipmunks' keys and those of others, as they write them. What is wrong with one stops no other.
func TestKeysOfOthers(t *testing.T) {
	both(t, func(t *testing.T, s store) {
		s.put("/chipmunks/n1/shop/c1", `{"name":"s","host":{"ip":"127.0.0.1","port":8080},"auth_backend":null}`,
			"/chipmunks/n2/shop/c1", `{"name":"s","host":{"ip":"127.0.0.1","port":8080},"auth_backend":null}`, // the same server
			"/chipmunks/n1/", `{"name":"x","host":{"ip":"127.0.0.1","port":8081},"auth_backend":null}`, // of a container without swarm's label
			"/chipmunks/n1/shop/c2", `{"name":"s","host":{"ip":"127.0.0.1","port":0},"auth_backend":null}`, // nothing is published
			"/chipmunks/n1/shop/c3", `{"name":"s","host":{"ip":"127.0.0.1; } server {","port":80},"auth_backend":null}`,
			"/chipmunks/n1/paid/c4", `{"name":"p","host":{"ip":"127.0.0.2","port":80},"auth_backend":"/auth; return 200"}`)
		s.put("/services/web/host:web_1:80", "10.0.0.1:80",
			"/naming/web/10.0.0.2:80", `{"Op":0,"Addr":"10.0.0.2:80","Metadata":null}`,
			"/skydns/local/web/x", `{"host":"10.0.0.3","port":80}`)
		for layout, test := range map[string]struct{ prefix, want string }{
			"chipmunks": {"", "paid[127.0.0.2:80] shop[127.0.0.1:8080]"}, "registrator": {"/services", "web[10.0.0.1:80]"},
			"endpoints": {"/naming", "web[10.0.0.2:80]"}, "skydns2": {"/skydns/local", "web[10.0.0.3:80]"},
		} {
			set := begin(t, quickTo(t, s.url, func(c *Config) { c.Layout, c.Prefix = layout, test.prefix })).until(test.want)
			if layout != "chipmunks" {
				continue
			}
			if got := routes(set); got != "shop: /shop/* from=dc" {
				t.Errorf("the routes are %s", got)
			}
			for _, part := range []string{`"/chipmunks/n1/shop/c2" is not understood: port 0`, `"/chipmunks/n1/shop/c3" is not understood: "127.0.0.1; } server {" is no IP address`, `"/chipmunks/n1/paid/c4": auth`} {
				if !strings.Contains(outs(set), part) {
					t.Errorf("nothing says %s:\n%s", part, outs(set))
				}
			}
		}
	})
}
