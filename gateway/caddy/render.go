package caddy

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"swallowkeeper/upstream"
)

// object is JSON. Its keys are written in order, as Caddy writes them, so equal ones have equal bytes.
type object map[string]any

// Names of what is ours in Caddy's configuration.
const (
	placeID    = "swallowkeeper"
	stateID    = placeID + ".state"
	routeID    = placeID + ".route."
	upstreamID = placeID + ".upstream."
	// noteKey is the variable that holds an upstream as it is wanted. The handler that sets it stands behind one that
	// answers, so it never runs.
	noteKey = "swallowkeeper"
	// upstreamVar is the upstream that a request goes to, with a timeout where its route has one.
	upstreamVar = "swallowkeeper.upstream"
	// authVar is who is asked about a request before.
	authVar = "swallowkeeper.auth"
)

// piece is one route of ours, and whose it is: "" for one that stands for all.
type piece struct {
	id, owner string
	raw       []byte
}

// dialect is how Caddy has to be told. The zero value is a new Caddy's.
type dialect struct {
	old   bool          // 2.6 has neither weighted_round_robin nor stream_close_delay
	delay time.Duration // stream_close_delay
	rest  bool          // the server is ours alone: what no route takes is not found
	asks  string        // whom Caddy asks for servers by DNS, "" for nobody
}

// renderer makes our routes of a set.
//
//	swallowkeeper.state           never matches; tells one push from another
//	swallowkeeper.route.N         a request that it takes gets the name of its upstream, and of whom to ask before
//	(ask)                         asks, and answers itself unless that was answered by 2xx
//	swallowkeeper.upstream.NAME   passes on what got the name, and notes the upstream as it is wanted
type renderer struct {
	dialect
	set     upstream.Set
	dynamic map[string]bool // the upstreams whose servers Caddy asks for
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
	if err != nil { // it holds strings and numbers alone
		return []byte("null")
	}
	return raw
}

// handle is the value of the place's key of that name.
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

// upstream writes what passes requests on: once with the note, and once for each timeout that its routes have.
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

// timed is the name of an upstream with a timeout. No name has a space.
func timed(name string, timeout time.Duration) string {
	if timeout == 0 {
		return name
	}
	return name + " " + timeout.String()
}

// unavailable answers where nobody else can.
func unavailable() object { return object{"handler": "static_response", "status_code": 503} }

// proxy passes requests on to the servers of an upstream that are not down.
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

// policyOf is Caddy's name of a method that [Gateway.Abilities] lists.
func policyOf(method string) string {
	if method == "" {
		return "round_robin"
	}
	return method
}

// mostEntries is how many entries an upstream has at most where its weights are told by repeating servers.
const mostEntries = 256

// entries are the servers as Caddy lists them, each as often as it counts, and not one after the other.
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

// shares are the weights without what all of them can be divided by: Caddy sends so many requests in a row to one server.
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

// atMost narrows weights so that all together are not many more than most, and none is nothing.
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

// passiveOf are the checks of an upstream. As in nginx a server that is alone is never taken out, unless others may come by
// DNS. Caddy has one number for all servers: the most patient.
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
