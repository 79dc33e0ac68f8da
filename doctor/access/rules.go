package access

import (
	"net/netip"
	"strings"

	"swallowkeeper/doctor/nginxtree"
)

// ruling is the decision of one access module.
type ruling int

const (
	nothing ruling = iota
	accepted
	forbidden
	unauthorized // without credentials
	unclear      // can't be decided here
)

// judges are directives of modules whose decision can't be derived from the configuration.
var judges = []string{
	"access_by_lua", "access_by_lua_file", "access_by_lua_block", "auth_jwt", "auth_digest", "auth_pam", "auth_ldap", "auth_gss",
	"auth_spnego", "auth_oidc", "auth_radius", "js_access", "modsecurity", "perl_access", "SecRulesEnabled",
}

// access asks all access modules, and combines their decisions according to satisfy.
func (q *request) access(location *nginxtree.Directive) outcome {
	all := []ruling{q.rules(location), q.password(location), q.asked(location)}
	var unclearAt *nginxtree.Directive
	for _, name := range judges {
		if d := location.Inherited(name); len(d) > 0 && location.Value(name, "") != "off" {
			all = append(all, unclear)
			unclearAt = d[0]
			break
		}
	}
	has := func(s ruling) bool {
		for _, a := range all {
			if a == s {
				return true
			}
		}
		return false
	}
	if location.Value("satisfy", "all") == "any" {
		if has(accepted) {
			return letIn
		}
		if has(unclear) {
			q.doubt(unclearAt)
			return letIn
		}
	}
	switch {
	case has(forbidden) && location.Value("satisfy", "all") != "any":
		return refused
	case has(unauthorized):
		return credentials
	case has(forbidden):
		return refused
	case has(unclear):
		q.doubt(unclearAt)
	}
	return letIn
}

// rules applies the first matching allow or deny. A block with any rule inherits none.
func (q *request) rules(location *nginxtree.Directive) ruling {
	addr := q.addr
	rules := location.Inherited("allow", "deny")
	if q.overIPv6 && addr.Is4() && !judgesIPv4(rules) {
		addr = netip.AddrFrom16(addr.As16())
	}
	for _, d := range rules {
		if len(d.Args) != 2 || !fits(d.Args[1], addr) {
			continue
		}
		if d.Name() == "allow" {
			return accepted
		}
		return forbidden
	}
	return nothing
}

func judgesIPv4(rules []*nginxtree.Directive) bool {
	for _, d := range rules {
		if len(d.Args) != 2 {
			continue
		}
		if p, ok := parsePrefix(d.Args[1]); d.Args[1] == "all" || ok && p.Addr().Is4() {
			return true
		}
	}
	return false
}

func fits(who string, addr netip.Addr) bool {
	if who == "all" || who == "unix:" && !addr.IsValid() {
		return true
	}
	p, ok := parsePrefix(who)
	return ok && addr.IsValid() && p.Contains(addr)
}

// password is auth_basic, which requires nothing without a file of passwords.
func (q *request) password(location *nginxtree.Directive) ruling {
	realm := location.Inherited("auth_basic")
	if len(realm) == 0 || len(realm[0].Args) < 2 || location.Value("auth_basic_user_file", "") == "" {
		return nothing
	}
	switch v := q.text(realm[0].Args[1]); {
	case !v.known:
		q.doubt(realm[0])
		return nothing
	case v.text == "off":
		return nothing
	}
	return unauthorized
}

// asked is auth_request: another location decides.
func (q *request) asked(location *nginxtree.Directive) ruling {
	uri := location.Value("auth_request", "off")
	if uri == "off" {
		return nothing
	}
	sub := *q
	sub.uri = uri
	asked := sub.find(q.server)
	if asked == nil {
		return forbidden
	}
	switch answers := asked.Children("return"); {
	case len(answers) == 0:
		return unauthorized
	case len(answers[0].Args) > 1 && strings.HasPrefix(answers[0].Args[1], "2"):
		return accepted // it admits everybody
	}
	return forbidden
}
