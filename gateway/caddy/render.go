package caddy

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// object is a JSON object. Its keys are written in order, as Caddy does, so equal objects have equal bytes.
type object map[string]any

// Names of our objects in Caddy's configuration.
const (
	placeID    = "swallowkeeper"
	stateID    = placeID + ".state"
	routeID    = placeID + ".route."
	upstreamID = placeID + ".upstream."
	// noteKey is the variable with an upstream's wanted state. The handler that sets it comes after one that
	// answers, so it never runs.
	noteKey = "swallowkeeper"
	// upstreamVar holds the upstream of a request, with the timeout of its route if any.
	upstreamVar = "swallowkeeper.upstream"
	// authVar holds the URL of the authorization request.
	authVar = "swallowkeeper.auth"
)

// piece is one of our routes, and its upstream: "" if it serves all.
type piece struct {
	id, owner string
	raw       []byte
}

// dialect describes what a Caddy understands. The zero value is a recent Caddy.
type dialect struct {
	old   bool          // 2.6 has neither weighted_round_robin nor stream_close_delay
	delay time.Duration // stream_close_delay
	rest  bool          // the server is ours alone: requests without a route get 404
	asks  string        // name server that Caddy asks for servers; "" for none
}

// renderer turns a set into our routes.
//
//	swallowkeeper.state           never matches; tells one push from another
//	swallowkeeper.route.N         a request that it takes gets the name of its upstream, and of whom to ask before
//	(ask)                         asks, and answers itself unless that was answered by 2xx
//	swallowkeeper.upstream.NAME   passes on what got the name, and notes the upstream as it is wanted
type renderer struct {
	dialect
	set     upstream.Set
	dynamic map[string]bool // upstreams whose servers Caddy queries
	pieces  []piece
}

func render(set upstream.Set, d dialect, push string) []piece {
	r := renderer{dialect: d, set: set, dynamic: d.dynamic(set)}
	r.add(stateID, "", object{
		"match":  []any{object{"not": []any{object{}}}},
		"handle": []any{object{"handler": "vars", noteKey: object{"push": push}}},
	})
	r.routes()
	for u := range set.All() {
		r.upstream(u)
	}
	if r.rest {
		r.add("", "", object{"handle": []any{object{"handler": "static_response", "status_code": 404}}})
	}
	return r.pieces
}

func (r *renderer) add(id, owner string, route object) {
	if id != "" {
		route["@id"] = id
	}
	r.pieces = append(r.pieces, piece{id: id, owner: owner, raw: encode(route)})
}

// encode writes JSON as Caddy does.
func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil { // cannot happen: only strings and numbers
		return []byte("null")
	}
	return raw
}

// handle returns the value of the key "handle" of our place.
func handle(pieces []piece) []byte {
	var b bytes.Buffer
	b.WriteString(`[{"handler":"subroute","routes":[`)
	for i, p := range pieces {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(p.raw)
	}
	b.WriteString(`]}]`)
	return b.Bytes()
}

// upstream writes the proxy of an upstream: one with the note, and one for each timeout of its routes.
func (r *renderer) upstream(u upstream.Upstream) {
	r.add(upstreamID+u.Name, u.Name, object{
		"match":    []any{object{"vars": object{upstreamVar: []any{u.Name}}}},
		"handle":   []any{r.proxy(u, 0), object{"handler": "vars", noteKey: noteOf(u)}},
		"terminal": true,
	})
	var done []time.Duration
	for _, route := range u.Routes {
		if route.Timeout == 0 || slices.Contains(done, route.Timeout) {
			continue
		}
		done = append(done, route.Timeout)
		r.add("", u.Name, object{
			"match":    []any{object{"vars": object{upstreamVar: []any{timed(u.Name, route.Timeout)}}}},
			"handle":   []any{r.proxy(u, route.Timeout)},
			"terminal": true,
		})
	}
}

// timed names an upstream with a timeout. No upstream's name contains a space.
func timed(name string, timeout time.Duration) string {
	if timeout == 0 {
		return name
	}
	return name + " " + timeout.String()
}

// unavailable answers requests that no server can take.
func unavailable() object { return object{"handler": "static_response", "status_code": 503} }

// proxy forwards requests to the servers of an upstream that are not down.
func (r *renderer) proxy(u upstream.Upstream, timeout time.Duration) object {
	pool := usable(u)
	if len(pool) == 0 {
		return unavailable()
	}
	p := object{"handler": "reverse_proxy", "transport": transport(u.Options, timeout)}
	counts := make([]int, len(pool))
	even := true
	for i, s := range pool {
		counts[i] = 1
		even = even && s.Weight == pool[0].Weight
	}
	policy := object{"policy": policyOf(u.Options.Method)}
	if !even && u.Options.Method == "" {
		weights := shares(pool)
		if r.old {
			counts = atMost(weights, mostEntries)
		} else {
			policy = object{"policy": "weighted_round_robin", "weights": weights}
		}
	}
	p["upstreams"] = entries(pool, counts)
	p["load_balancing"] = object{"retries": 1, "selection_policy": policy}
	passive := passiveOf(pool, r.dynamic[u.Name])
	if r.dynamic[u.Name] {
		p["dynamic_upstreams"] = r.source(u.Name, pool[0].Addr.Port())
		if most := pool[0].MaxConns; most > 0 {
			passive["unhealthy_request_count"] = most
		}
	}
	if len(passive) > 0 {
		p["health_checks"] = object{"passive": passive}
	}
	if !r.old && r.delay > 0 {
		p["stream_close_delay"] = r.delay.String()
	}
	return p
}

func usable(u upstream.Upstream) []upstream.Server {
	var pool []upstream.Server
	for _, s := range u.Servers {
		if !s.Down {
			pool = append(pool, s)
		}
	}
	return pool
}

// policyOf returns Caddy's name for a method that [Gateway.Abilities] lists.
func policyOf(method string) string {
	if method == "" {
		return "round_robin"
	}
	return method
}

// mostEntries limits the entries of an upstream whose weights are expressed by repeating servers.
const mostEntries = 256

// entries returns the servers for Caddy's list, each repeated by its weight and interleaved.
func entries(pool []upstream.Server, counts []int) []any {
	var all []any
	for round := range slices.Max(counts) {
		for i, s := range pool {
			if round >= counts[i] {
				continue
			}
			entry := object{"dial": s.Addr.String()}
			if s.MaxConns > 0 {
				entry["max_requests"] = s.MaxConns
			}
			all = append(all, entry)
		}
	}
	return all
}

// shares divides the weights by their greatest common divisor: Caddy sends that many requests in a row to one server.
func shares(pool []upstream.Server) []int {
	divisor := 0
	for _, s := range pool {
		divisor = gcd(divisor, s.Weight)
	}
	all := make([]int, len(pool))
	for i, s := range pool {
		all[i] = s.Weight / max(divisor, 1)
	}
	return all
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// atMost scales weights so that their sum is about most, and none becomes zero.
func atMost(weights []int, most int) []int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	if sum <= most {
		return weights
	}
	all := make([]int, len(weights))
	for i, w := range weights {
		all[i] = max(1, (w*most+sum/2)/sum)
	}
	return all
}

// passiveOf returns an upstream's passive checks. As in nginx, a single server is never taken out, unless DNS may add
// others. Caddy has one limit for all servers: the largest.
func passiveOf(pool []upstream.Server, varies bool) object {
	fails, out := 0, time.Duration(0)
	for _, s := range pool {
		if s.MaxFails == 0 || s.FailTimeout == 0 {
			return object{}
		}
		fails, out = max(fails, s.MaxFails), max(out, s.FailTimeout)
	}
	if len(pool) < 2 && !varies {
		return object{}
	}
	return object{"max_fails": fails, "fail_duration": out.String()}
}

func transport(o upstream.Options, timeout time.Duration) object {
	t := object{"protocol": "http"}
	if o.Keepalive > 0 {
		t["keep_alive"] = object{"max_idle_conns": o.Keepalive, "max_idle_conns_per_host": o.Keepalive}
	}
	if timeout > 0 {
		for _, of := range []string{"dial_timeout", "read_timeout", "response_header_timeout", "write_timeout"} {
			t[of] = timeout.String()
		}
	}
	return t
}
