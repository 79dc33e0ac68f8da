package consul

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/consul/api"
	"github.com/sirupsen/logrus"
)

// renewed is a value read from files that are renewed in place, such as short-lived certificates and tokens. It is read
// again when the files change. While they can't be used, because one is missing, half written, or does not match the
// other yet, the last good value is kept.
type renewed[T any] struct {
	what  string
	files []string
	read  func() (T, error)
	log   logrus.FieldLogger

	mu    sync.Mutex
	value T
	print string // fingerprint of the files of that value
	bad   string // fingerprint of the files that were last reported as bad
}

// load reads the first value.
func (r *renewed[T]) load() error {
	now := fingerprint(r.files)
	value, err := r.read()
	r.value, r.print = value, now
	return err
}

func (r *renewed[T]) current() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Taken before reading, so that a change during it is noticed the next time.
	now := fingerprint(r.files)
	if now == r.print {
		return r.value
	}
	value, err := r.read()
	switch {
	case err == nil:
		r.log.Info(r.what + " was renewed")
		r.value, r.print, r.bad = value, now, ""
	case now != r.bad:
		r.log.WithError(err).Warn(r.what + " can't be read again: the last good one goes on")
		r.bad = now
	}
	return r.value
}

// fingerprint hashes the contents of files, and of folders with everything in them. Times and sizes would miss a second
// write within a clock tick.
func fingerprint(paths []string) string {
	sum := sha256.New()
	for _, path := range paths {
		_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			var data []byte
			if err == nil && !d.IsDir() {
				data, err = os.ReadFile(name)
			}
			_, _ = fmt.Fprintf(sum, "%q %q %v\n", name, data, err)
			return nil
		})
	}
	return string(sum.Sum(nil))
}

// secure configures TLS like the official client, but reads the files again for each new connection.
func (e *endpoint) secure(log logrus.FieldLogger) error {
	if e.base.Scheme != "https" {
		return nil
	}
	files := e.base.TLSConfig
	conf, err := api.SetupTLSConfig(&files)
	if err != nil {
		return during("set up TLS for Consul", err)
	}
	e.tls = conf
	if files.CertFile != "" {
		own := &renewed[*tls.Certificate]{
			what: "the client certificate", files: []string{files.CertFile, files.KeyFile}, log: log,
			read: func() (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
				return &pair, err
			},
		}
		if err := own.load(); err != nil {
			return during("set up TLS for Consul", err)
		}
		conf.Certificates = nil
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.current(), nil }
	}
	if conf.RootCAs == nil || conf.InsecureSkipVerify {
		return nil
	}
	authority := &renewed[*x509.CertPool]{
		what: "the CA certificate", log: log,
		read: func() (*x509.CertPool, error) {
			now, err := api.SetupTLSConfig(&api.TLSConfig{CAFile: files.CAFile, CAPath: files.CAPath})
			if err != nil {
				return nil, err
			}
			return now.RootCAs, nil
		},
	}
	for _, path := range []string{files.CAFile, files.CAPath} {
		if path != "" {
			authority.files = append(authority.files, path)
		}
	}
	if err := authority.load(); err != nil {
		return during("set up TLS for Consul", err)
	}
	name := conf.ServerName
	if name == "" {
		name = (&url.URL{Host: e.base.Address}).Hostname()
	}
	// The standard verification uses a fixed pool. This is the same with the current pool.
	conf.InsecureSkipVerify = true //nolint:gosec // VerifyConnection verifies
	conf.VerifyConnection = func(cs tls.ConnectionState) error { return verify(cs, name, authority.current()) }
	return nil
}

// verify verifies a server's certificate like crypto/tls.
func verify(cs tls.ConnectionState, name string, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, cert := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}
