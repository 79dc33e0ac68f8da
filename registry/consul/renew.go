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

// renewed is what was read of files that are renewed in place: short-lived certificates and tokens. Whoever asks for
// it gets what they hold now. While that can't be used, because a file is missing, half written, or does not fit
// the other one yet, the last good value goes on.
type renewed[T any] struct {
	what  string
	files []string
	read  func() (T, error)
	log   logrus.FieldLogger

	mu    sync.Mutex
	value T
	print string // of the files that value was read of
	bad   string // of those that were complained about
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
	// Before it is read: what changes meanwhile is read again the next time.
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

// fingerprint is of the contents of files, and of folders with all that is in them. Times and sizes would miss what is
// written twice within a tick.
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

// secure sets TLS up as the official client does, but for each new connection with the files as they are then.
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
	// The standard check knows one pool for ever. This is the same one with the pool of the moment.
	conf.InsecureSkipVerify = true //nolint:gosec // VerifyConnection verifies
	conf.VerifyConnection = func(cs tls.ConnectionState) error { return verify(cs, name, authority.current()) }
	return nil
}

// verify checks a server's certificate as crypto/tls does by itself.
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
