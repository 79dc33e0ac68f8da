package route

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Options of a route in its text, in the order in which they are written.
const (
	optionName      = "name"
	optionMethods   = "methods"
	optionStrip     = "strip"
	optionRewrite   = "rewrite"
	optionTimeout   = "timeout"
	optionAuth      = "auth"
	optionWebSocket = "websocket"
	optionFrom      = "from"
)

var options = []string{optionMethods, optionStrip, optionRewrite, optionTimeout, optionAuth, optionWebSocket}

// Text returns the route on one line. [ParseText] parses it.
//
//	shop.example/orders/{id} name=order methods=GET rewrite=/v2/{id} timeout=2s auth=auth/verify websocket=false from=consul
func (r Route) Text() string {
	var b strings.Builder
	b.WriteString(r.Where())
	option := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + "=" + value)
		}
	}
	option(optionName, r.Name)
	option(optionMethods, r.MethodList())
	option(optionStrip, r.Strip)
	option(optionRewrite, r.Rewrite)
	if r.Timeout != 0 {
		option(optionTimeout, r.Timeout.String())
	}
	option(optionAuth, r.Auth)
	if r.NoWebSocket {
		option(optionWebSocket, "false")
	}
	option(optionFrom, escape(r.Origin))
	return b.String()
}

// String is [Route.Text].
func (r Route) String() string { return r.Text() }

// ParseText parses what [Route.Text] writes for a valid route of the upstream, and nothing else.
func ParseText(text, upstream string) (Route, error) {
	where, rest, _ := strings.Cut(text, " ")
	r, err := parseWhere(where)
	if err != nil {
		return Route{}, err
	}
	if rest != "" {
		for option := range strings.SplitSeq(rest, " ") {
			key, value, _ := strings.Cut(option, "=")
			switch key {
			case optionName:
				r.Name = value
			case optionFrom:
				var ok bool
				if r.Origin, ok = unescape(value); !ok {
					return Route{}, badValue.Err(key, quote(value), "an origin")
				}
			default:
				if err := r.set(key, value); err != nil {
					return Route{}, err
				}
			}
		}
	}
	if err := r.Valid(upstream); err != nil {
		return Route{}, err
	}
	if is := r.Text(); is != text {
		return Route{}, spelling.Err(quote(is))
	}
	return r, nil
}

// parseWhere parses HOST/PATH.
func parseWhere(where string) (Route, error) {
	slash := strings.IndexByte(where, '/')
	if slash < 0 {
		return Route{}, badForm.Err(quote(where))
	}
	return Route{Host: where[:slash], Path: where[slash:]}, nil
}

// set sets one option as written by a person or a registration.
func (r *Route) set(key, value string) error {
	switch key {
	case optionMethods:
		if value == "" {
			return badValue.Err(key, quote(value), "a list such as GET,POST")
		}
		r.Methods = strings.Split(strings.ToUpper(value), ",")
		slices.Sort(r.Methods)
		r.Methods = slices.Compact(r.Methods)
	case optionStrip:
		return r.SetStrip(cmp.Or(value, "true"))
	case optionRewrite:
		r.Rewrite = value
	case optionTimeout:
		t, err := time.ParseDuration(value)
		if err != nil {
			return badValue.Err(key, quote(value), "a time such as 2s")
		}
		r.Timeout = t
	case optionAuth:
		r.Auth = value
	case optionWebSocket:
		on, is := truth(value)
		if !is {
			return badValue.Err(key, quote(value), "true or false")
		}
		r.NoWebSocket = !on
	default:
		return badOption.Err(quote(key), strings.Join(options, ", "))
	}
	return nil
}

// SetStrip sets the prefix to remove from the path, or with "true" everything before the variables of Path.
func (r *Route) SetStrip(value string) error {
	if on, is := truth(value); is {
		if r.Strip = ""; !on {
			return nil
		}
		p, err := ParsePath(r.Path)
		if err != nil {
			return err
		}
		if r.Strip = p.Prefix(); r.Strip == "" {
			return nothingToStrip.Err(quote(r.Path))
		}
		return nil
	}
	if r.Strip = value; len(value) > 1 {
		r.Strip = strings.TrimSuffix(value, "/")
	}
	return nil
}

func truth(s string) (on, is bool) {
	switch s {
	case "true", "on", "yes", "1":
		return true, true
	case "false", "off", "no", "0":
		return false, true
	}
	return false, false
}

const hexDigits = "0123456789ABCDEF"

// escape encodes each byte that could end a word or a line as %XX.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("_.-@:/,[]=?&+~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&0xf])
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if len(s)-i < 3 {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}
