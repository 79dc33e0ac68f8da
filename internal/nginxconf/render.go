package nginxconf

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"swallowkeeper/upstream"
)

const indent = "    "

// Comments with these prefixes contain notes.
const (
	canaryNote = "canary "
	routeNote  = "route "
	hexDigits  = "0123456789ABCDEF"
)

// AppendBody appends the inside of the upstream's block, one directive per line. As the body of a POST, it replaces the
// block in dyups.
func AppendBody(dst []byte, u upstream.Upstream) []byte {
	return appendDirectives(dst, u, "", false)
}

// AppendBlock appends the upstream's block, with its routes and origins as comments:
//
//	upstream web_b { # canary b
//	    # route shop.example/api/* strip=/api from=consul@127.0.0.1:8500
//	    least_conn;
//	    keepalive 20;
//	    server 10.0.0.1:80 weight=1 max_fails=3 fail_timeout=2s; # consul@127.0.0.1:8500
//	}
func AppendBlock(dst []byte, u upstream.Upstream) []byte {
	dst = append(dst, "upstream "...)
	dst = appendOnly(dst, u.Name, isNameByte)
	dst = append(dst, " {"...)
	if u.Canary != "" {
		dst = append(dst, " # "...)
		dst = append(dst, canaryNote...)
		dst = appendNote(dst, u.Canary)
	}
	dst = append(dst, '\n')
	for i := range u.Routes {
		dst = append(append(dst, indent...), "# "+routeNote...)
		dst = appendSafe(dst, u.Routes[i].Text(), isRouteByte)
		dst = append(dst, '\n')
	}
	dst = appendDirectives(dst, u, indent, true)
	return append(dst, "}\n"...)
}

// appendDirectives writes the balancing method first, as nginx drops a keepalive before it. The servers come last:
// dyups may accept a truncated body and report success, and servers are the only directives that can be read back.
func appendDirectives(dst []byte, u upstream.Upstream, indent string, notes bool) []byte {
	if u.Options.Method != "" {
		dst = append(dst, indent...)
		dst = appendOnly(dst, u.Options.Method, isMethodByte)
		dst = append(dst, ";\n"...)
	}
	if u.Options.Keepalive != 0 {
		dst = append(dst, indent...)
		dst = append(dst, "keepalive "...)
		dst = strconv.AppendInt(dst, int64(u.Options.Keepalive), 10)
		dst = append(dst, ";\n"...)
	}
	for i := range u.Servers {
		s := &u.Servers[i]
		dst = slices.Grow(dst, 128)
		dst = append(dst, indent...)
		dst = appendServer(dst, s)
		if notes && s.Origin != "" {
			dst = append(dst, " # "...)
			dst = appendNote(dst, s.Origin)
			if s.Host != "" {
				dst = append(dst, ' ')
				dst = appendNote(dst, s.Host)
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}

// appendServer always writes weight, max_fails and fail_timeout, as our defaults differ from nginx's.
func appendServer(dst []byte, s *upstream.Server) []byte {
	dst = append(dst, "server "...)
	dst = appendAddr(dst, s.Addr)
	dst = append(dst, " weight="...)
	dst = strconv.AppendInt(dst, int64(s.Weight), 10)
	dst = append(dst, " max_fails="...)
	dst = strconv.AppendInt(dst, int64(s.MaxFails), 10)
	dst = append(dst, " fail_timeout="...)
	dst = strconv.AppendInt(dst, int64(s.FailTimeout/time.Second), 10)
	dst = append(dst, 's')
	if s.MaxConns != 0 {
		dst = append(dst, " max_conns="...)
		dst = strconv.AppendInt(dst, int64(s.MaxConns), 10)
	}
	if s.Backup {
		dst = append(dst, " backup"...)
	}
	if s.Down {
		dst = append(dst, " down"...)
	}
	return append(dst, ';')
}

// appendAddr writes an invalid address as one that nginx refuses. It never writes a zone, which may contain any text.
func appendAddr(dst []byte, addr netip.AddrPort) []byte {
	switch {
	case !addr.IsValid():
		return append(dst, "0.0.0.0:0"...)
	case addr.Addr().Zone() != "":
		addr = netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port())
	}
	return addr.AppendTo(dst)
}

// appendOnly replaces bytes that could have a meaning to nginx. Callers have validated s, so this is the last line of
// defence.
func appendOnly(dst []byte, s string, safe func(byte) bool) []byte {
	if s == "" {
		return append(dst, '_')
	}
	return appendSafe(dst, s, safe)
}

func appendSafe(dst []byte, s string, safe func(byte) bool) []byte {
	for i := range len(s) {
		if safe(s[i]) {
			dst = append(dst, s[i])
		} else {
			dst = append(dst, '_')
		}
	}
	return dst
}

// appendNote writes text for a comment. Unsafe bytes become %XX, so that the note can be read back and never ends its
// line.
func appendNote(dst []byte, s string) []byte {
	start := 0
	for i := range len(s) {
		if c := s[i]; !isNoteByte(c) {
			dst = append(dst, s[start:i]...)
			dst = append(dst, '%', hexDigits[c>>4], hexDigits[c&0xf])
			start = i + 1
		}
	}
	return append(dst, s[start:]...)
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z'
}

func isNameByte(c byte) bool { return isAlnum(c) || c == '_' || c == '.' || c == '-' }

// isMethodByte excludes $: a body with a variable that nginx.conf does not use leaves a dyups worker unable to accept
// any other body.
func isMethodByte(c byte) bool { return isAlnum(c) || c == '_' || c == ' ' }

// isRouteByte accepts all bytes of a valid route. None of them ends the line.
func isRouteByte(c byte) bool { return c >= ' ' && c <= '~' && c != '#' }

func isNoteByte(c byte) bool {
	if isAlnum(c) {
		return true
	}
	switch c {
	case '_', '.', '-', '@', ':', '/', ',', '[', ']', '=', '?', '&', '+', '~':
		return true
	}
	return false
}
