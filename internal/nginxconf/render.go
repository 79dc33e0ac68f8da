package nginxconf

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"swallowkeeper/upstream"
)

const indent = "    "

// Notes stand in comments, behind these words.
const (
	canaryNote = "canary "
	hexDigits  = "0123456789ABCDEF"
)

// AppendBody appends the inside of the upstream's block, a directive a line. It is
// what dyups takes as the body of a POST, which replaces the block as a whole.
func AppendBody(dst []byte, u upstream.Upstream) []byte {
	return appendDirectives(dst, u, "", false)
}

// AppendBlock appends the upstream's block, with the notes on where it comes from as
// comments:
//
//	upstream web_b { # canary b
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
	dst = appendDirectives(dst, u, indent, true)
	return append(dst, "}\n"...)
}

// appendDirectives writes the balancing method first: nginx loses a keepalive that
// stands before it. The servers come last: dyups may take in a body that was cut on its
// way and say success, and of all directives only the servers can be read back.
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

// appendServer spells weight, max_fails and fail_timeout always: nginx's defaults are
// not ours.
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

// appendAddr writes an address that is none as one that nginx refuses, and never a
// zone, which may hold any text.
func appendAddr(dst []byte, addr netip.AddrPort) []byte {
	switch {
	case !addr.IsValid():
		return append(dst, "0.0.0.0:0"...)
	case addr.Addr().Zone() != "":
		addr = netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port())
	}
	return addr.AppendTo(dst)
}

// appendOnly replaces bytes that would mean something to nginx. Callers have validated
// s: this is the last line of defence.
func appendOnly(dst []byte, s string, safe func(byte) bool) []byte {
	if s == "" {
		return append(dst, '_')
	}
	for i := range len(s) {
		if safe(s[i]) {
			dst = append(dst, s[i])
		} else {
			dst = append(dst, '_')
		}
	}
	return dst
}

// appendNote writes text for a comment, with each byte that is not harmless as %XX, so
// that the note can be read back and never ends its line.
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

// isMethodByte takes no $: a body with a variable that nginx.conf does not use itself
// leaves a dyups worker unable to take any other.
func isMethodByte(c byte) bool { return isAlnum(c) || c == '_' || c == ' ' }

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
