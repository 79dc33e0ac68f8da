package etcd

import (
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// layout is a format of keys and values.
type layout struct {
	// prefix is the default prefix; "" if one must be configured.
	prefix string
	// under follows the prefix in each instance key.
	under string
	// place returns the service and instance of a key without its common prefix. root is that prefix without its slash.
	// The instance "" is the service itself.
	place func(key, root string) (service, id string, fits bool)
	// read parses a value. marker values have no instance.
	read func(value []byte) (parsed, error)
	// route returns the route of a service that registers none; "" for none.
	route string
}

// parsed is the content of a value.
type parsed struct {
	host                                    string
	port                                    int
	weight, maxFails, failTimeout, maxConns *int // failTimeout in seconds
	backup, unhealthy, marker               bool
	routes                                  []claim
	// For the route of a service that registers none: what is asked, in place of what that route says; that nobody is
	// asked; that somebody has to be.
	auth          string
	open, guarded bool
}

// claim is a route as written in a value.
type claim struct {
	text   string
	beside map[string]string
}

var layouts = map[string]layout{
	"swallowkeeper": {prefix: "/swallowkeeper", under: "/services", place: serviceFirst, read: readOwn},
	"chipmunks":     {prefix: "/chipmunks", place: nodeFirst, read: readChipmunks, route: "/{name}/*"},
	"endpoints":     {place: targetFirst, read: readEndpoint},
	"registrator":   {place: serviceFirst, read: readRegistrator},
	"skydns2":       {place: serviceFirst, read: readRegistrator},
}

func layoutNames() string {
	names := slices.Sorted(maps.Keys(layouts))
	for i := range names {
		names[i] = strconv.Quote(names[i])
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// serviceFirst parses NAME/ID, or NAME alone.
func serviceFirst(key, _ string) (service, id string, fits bool) {
	service, id, slash := strings.Cut(key, "/")
	return service, id, service != "" && (!slash || id != "")
}

// chipmunk matches NODE/SERVICE/CONTAINER like Chipmunks itself.
var chipmunk = regexp.MustCompile(`^[a-z0-9]+/([a-zA-Z_][a-zA-Z\-_0-9]*)/([a-z0-9]+)$`)

func nodeFirst(key, _ string) (service, id string, fits bool) {
	m := chipmunk.FindStringSubmatch(key)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// targetFirst parses TARGET/ADDR, where TARGET has any number of parts, and the last is the name. If only ADDR is left,
// the prefix is the TARGET.
func targetFirst(key, root string) (service, id string, fits bool) {
	target := root
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		target, key = key[:i], key[i+1:]
	}
	service = target[strings.LastIndexByte(target, '/')+1:]
	return service, key, service != "" && key != ""
}

// server makes a server from a value.
func (s parsed) server(t upstream.Template) (made upstream.Server, err error) {
	made = t.Server()
	if made.Addr, err = upstream.ParseAddr(s.host, s.port); err != nil {
		return made, err
	}
	set(&made.Weight, s.weight)
	set(&made.MaxFails, s.maxFails)
	set(&made.MaxConns, s.maxConns)
	if s.failTimeout != nil {
		made.FailTimeout = seconds(*s.failTimeout)
	}
	made.Backup = s.backup
	if err := made.Valid(); err != nil {
		return made, err
	}
	if made.Backup && !upstream.TakesBackup(t.Options.Method) {
		return made, noBackups.Err(t.Options.Method)
	}
	return made, nil
}

func set(to, from *int) {
	if from != nil {
		*to = *from
	}
}

// authOption matches the option auth of a route.
var authOption = regexp.MustCompile(`\s+auth=\S*`)

// read parses the claims of a value for the service of that name. fallback is the route of a service that registers
// none. If its auth is invalid, a route is refused: nobody must get in without authorization.
func (s parsed) read(service, fallback, origin string) (routes []route.Route, bad []route.Bad) {
	claims := s.routes
	if len(claims) == 0 && fallback != "" {
		c := claim{text: named(fallback, service)}
		asks := authOption.MatchString(c.text)
		if s.auth != "" || s.open {
			c.text = authOption.ReplaceAllString(c.text, "")
		}
		if s.auth != "" {
			c.beside = map[string]string{"auth": s.auth}
		}
		if s.guarded && !asks {
			return nil, append(bad, route.Bad{Text: safetext.Cut(c.text, mostText), Err: noAuth.Err()})
		}
		claims = []claim{c}
	}
	for i, c := range claims {
		if i == route.MaxRoutes {
			bad = append(bad, route.TooMany(c.text))
			break
		}
		r, err := route.Registered(c.text, service, c.beside)
		if err != nil {
			bad = append(bad, route.Bad{Text: c.text, Err: err})
			continue
		}
		r.Origin = origin
		routes = append(routes, r)
	}
	for i := range bad {
		bad[i].Text = safetext.Cut(bad[i].Text, mostText)
	}
	return route.Canonical(routes), bad
}

// hostPort parses IP:port.
func hostPort(text string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, noAddress.Err(safetext.Quote(text))
	}
	if port, err = strconv.Atoi(p); err != nil {
		return "", 0, noPort.Err(safetext.Quote(p))
	}
	return host, port, nil
}
