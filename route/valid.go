package route

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of routes.
const (
	// MaxPath is the maximum length of a path in bytes.
	MaxPath = 512
	// MaxName is the maximum length of the name of a route or an upstream in bytes.
	MaxName = 255
	// MaxHost is the maximum length of a host in bytes.
	MaxHost = 253
	// MaxTimeout is the maximum timeout.
	MaxTimeout = time.Hour
	// MaxRoutes is the maximum number of routes of an upstream.
	MaxRoutes = 100
)

// ownPath is the path at which gateways answer swallowkeeper itself.
const ownPath = "/.swallowkeeper"

var methods = []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}

// Methods returns the methods that a route can have.
func Methods() []string { return slices.Clone(methods) }

// Valid returns what is wrong with a route, or nil. upstream is its upstream.
func (r Route) Valid(upstream string) error {
	if r.Name != "" && !isName(r.Name) {
		return badName.Err(quote(r.Name))
	}
	if err := validHost(r.Host); err != nil {
		return err
	}
	p, err := ParsePath(r.Path)
	if err != nil {
		return err
	}
	if p.String() != r.Path {
		return badPath.Err(quote(r.Path), spelling.Err(p.String()))
	}
	if err := validMethods(r.Methods); err != nil {
		return err
	}
	if err := r.validTarget(p); err != nil {
		return err
	}
	if r.Timeout < 0 || r.Timeout > MaxTimeout || r.Timeout%time.Millisecond != 0 {
		return badTimeout.Err(r.Timeout, MaxTimeout)
	}
	if err := r.validAuth(upstream); err != nil {
		return err
	}
	if r.Side != 0 {
		return disagree.Err()
	}
	return nil
}

func validHost(host string) error {
	if host == "" {
		return nil
	}
	bad := func(why error) error { return badHost.Err(quote(host), why) }
	switch {
	case len(host) > MaxHost:
		return bad(tooLong.Err(len(host), MaxHost))
	case strings.Contains(host, "*"):
		return bad(wildcard.Err())
	case strings.Contains(host, ":"):
		return bad(hasPort.Err())
	case host != lower(host):
		return bad(spelling.Err(lower(host)))
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad(noHost.Err())
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' {
				return bad(noHost.Err())
			}
		}
	}
	return nil
}

func validMethods(list []string) error {
	for i, m := range list {
		if !slices.Contains(methods, m) {
			return badMethod.Err(quote(m), strings.Join(methods, ", "))
		}
		if i > 0 && list[i-1] >= m {
			return methodOrder.Err(quote(strings.Join(list, ",")))
		}
	}
	return nil
}

// validTarget checks Strip and Rewrite against the path.
func (r Route) validTarget(p Pattern) error {
	if r.Strip != "" && r.Rewrite != "" {
		return stripAndRewrite.Err()
	}
	if r.Strip != "" {
		prefix := p.Prefix()
		if r.Strip[0] != '/' || !strings.HasPrefix(prefix+"/", r.Strip+"/") {
			return badStrip.Err(quote(r.Strip), quote(r.Path), quote(prefix))
		}
	}
	if r.Rewrite == "" {
		return nil
	}
	bad := func(why error) error { return badRewrite.Err(quote(r.Rewrite), why) }
	to, err := parsePath(r.Rewrite)
	if err != nil {
		return bad(err)
	}
	for _, s := range to {
		switch {
		case s.Kind == Literal:
		case s.Kind != Variable:
			return bad(plainVariable.Err(quote(s.String())))
		case !slices.ContainsFunc(p, func(o Segment) bool { return o.Kind != Literal && o.Text == s.Text }):
			return bad(unknownVariable.Err(quote(r.Path), quote("{"+s.Text+"}")))
		}
	}
	return nil
}

func (r Route) validAuth(upstream string) error {
	if r.Auth == "" {
		return nil
	}
	bad := func(why error) error { return badAuth.Err(quote(r.Auth), why) }
	name := r.AuthUpstream()
	path := strings.TrimPrefix(r.Auth, name)
	switch {
	case r.Auth[0] != '/' && !isName(name):
		return bad(authForm.Err())
	case name != "" && strings.EqualFold(name, upstream):
		return bad(authItself.Err())
	}
	p, err := parsePath(path)
	if err != nil {
		return bad(err)
	}
	if slices.ContainsFunc(p, func(s Segment) bool { return s.Kind != Literal }) {
		return bad(authPattern.Err())
	}
	return nil
}

// isName reports whether a text may be the name of an upstream.
func isName(s string) bool {
	if s == "" || len(s) > MaxName || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z'
}

// isPathByte reports whether a byte is allowed in a path: it must mean the same in every gateway and in URLs.
func isPathByte(c byte) bool { return isAlnum(c) || strings.IndexByte("-._~!&()+,=:@", c) >= 0 }

func lower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

// quote quotes a text, shortened if it is long.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
