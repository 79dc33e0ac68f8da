package nginxconf

import (
	"errors"
	"fmt"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/upstream"
)

// ParseBody reads a POST body as a strict nginx reads it within an upstream block.
// Servers come in the order of the text, each as often as it is there; a unix socket
// has the zero Addr. What nginx refuses is an *[Error]; so are host names other than
// localhost, an include, a balancing method that is given twice and a backup above a
// method that allows none, which nginx lets pass with a warning or by accident.
// check directives and the settings of keepalive are taken and ignored.
func ParseBody(text []byte) (upstream.Options, []upstream.Server, error) {
	var b body
	t := newTokenizer(text)
	for {
		d, more, err := t.next()
		if err != nil {
			return upstream.Options{}, nil, err
		}
		if !more {
			break
		}
		if err := b.add(d); err != nil {
			return upstream.Options{}, nil, err
		}
	}
	if err := b.complete(); err != nil {
		return upstream.Options{}, nil, &Error{Line: t.line, Reason: err.Error()}
	}
	return b.options, b.servers, nil
}

type body struct {
	options upstream.Options
	servers []upstream.Server
	backups int
	keeps   bool // seen
}

func (b *body) add(d directive) error {
	name, args := d.args[0], d.args[1:]
	fail := func(format string, a ...any) error {
		return &Error{Line: d.line, Reason: fmt.Sprintf(format, a...)}
	}
	least, most, known := arity(name)
	switch {
	case name == "zone":
		return &Error{Line: d.line, Reason: ErrZone.Error(), cause: ErrZone}
	case !known:
		return fail("unknown directive %s", safetext.Quote(name))
	case len(args) < least || most >= 0 && len(args) > most:
		return fail("invalid number of arguments in %q directive", name)
	}
	switch name {
	case "server":
		s, err := readParams(args[1:])
		if err != nil {
			return fail("%s", err)
		}
		if s.Addr, err = readAddr(args[0]); err != nil {
			return fail("%s in upstream %s", err, safetext.Quote(args[0]))
		}
		if s.Backup {
			b.backups++
		}
		b.servers = append(b.servers, s)
	case "keepalive":
		n, ok := readNumber(args[0])
		switch {
		case b.keeps:
			return fail("\"keepalive\" directive is duplicate")
		case !ok || n == 0: // only newer releases accept 0
			return fail("invalid value %s in \"keepalive\" directive", safetext.Quote(args[0]))
		}
		b.keeps, b.options.Keepalive = true, n
	case "least_conn", "ip_hash", "random", "hash":
		if b.options.Method != "" {
			return fail("load balancing method redefined")
		}
		if bad, ok := badMethodArg(name, args); ok {
			return fail("invalid parameter %s", safetext.Quote(bad))
		}
		b.options.Method = strings.Join(d.args, " ")
	}
	return nil
}

func (b *body) complete() error {
	switch {
	case len(b.servers) == 0:
		return errors.New("no servers are inside upstream")
	case b.backups == len(b.servers):
		return errors.New("no servers in upstream: all are backups")
	case b.backups > 0 && !upstream.TakesBackup(b.options.Method):
		return errors.New("balancing method does not support parameter \"backup\"")
	}
	return nil
}

// arity returns the number of arguments that a directive of the upstream context takes; -1 means any.
func arity(name string) (least, most int, known bool) {
	switch name {
	case "server":
		return 1, -1, true
	case "least_conn", "ip_hash":
		return 0, 0, true
	case "random":
		return 0, 2, true
	case "hash":
		return 1, 2, true
	case "keepalive", "keepalive_requests", "keepalive_time", "keepalive_timeout":
		return 1, 1, true
	case "check", "check_keepalive_requests", "check_http_send", "check_http_expect_alive", "check_fastcgi_param":
		return 1, -1, true
	}
	return 0, 0, false
}

func badMethodArg(name string, args []string) (string, bool) {
	switch {
	case name == "hash" && len(args) == 2 && args[1] != "consistent":
		return args[1], true
	case name == "random" && len(args) > 0 && args[0] != "two":
		return args[0], true
	case name == "random" && len(args) > 1 && args[1] != "least_conn":
		return args[1], true
	}
	return "", false
}
