package consultestserver

import "fmt"

// Option changes how Start starts Consul.
type Option func(*settings)

type settings struct {
	extra       []string
	acl, tls    bool
	choosePorts func() (ports, error)
}

// WithConfig adds agent configuration in HCL or JSON. It wins over what this package sets.
func WithConfig(text string) Option {
	return func(s *settings) { s.extra = append(s.extra, text) }
}

// WithACL denies by default whoever has no token, and sets Server.Token to a management token.
func WithACL() Option {
	return func(s *settings) { s.acl = true }
}

// WithTLS serves HTTPS as well, on Server.HTTPSAddr, with a certificate that Server.CAFile vouches for.
func WithTLS() Option {
	return func(s *settings) { s.tls = true }
}

// WithMaxConnsPerClient limits how many connections one client address may have; Consul's own limit
// is 200.
func WithMaxConnsPerClient(n int) Option {
	return WithConfig(fmt.Sprintf("limits { http_max_conns_per_client = %d }", n))
}
