package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// indexWatch watches a service by its index alone, with a query on the mux that waits for the next index.
type indexWatch struct {
	muxQuery *muxQuery // nil if none is waiting
	rung     pace
	tries    int // consecutive failures
}

// besideMux is the number of connections for all other queries.
const besideMux = 2

var errNoHTTP2 = errors.New("the agent does not speak HTTP/2 any more")

// watchIndexes lets index watches tell which services to read. The mutex is held.
func (w *watch) watchIndexes(ctx context.Context) {
	most := w.room.connections
	if most > 0 {
		most = max(most-besideMux, 1)
	}
	w.mux = newMux(w.endpoint.dialHTTP2, w.endpoint.base.Address, most)
	for _, s := range w.order {
		s.muxQuery = nil
	}
	mux := w.mux
	w.loops.Go(func() { mux.run(ctx) })
}

// waitIndex sends a query that waits until the index of a service exceeds the given one, which was read. The mutex is
// held.
func (w *watch) waitIndex(s *service, index uint64) {
	if w.plan.way != byIndex || s.stop != nil || s.muxQuery != nil || w.services[s.name] != s {
		return
	}
	ctx, began := w.sweeping, time.Now()
	index = max(index, 1)
	wait := w.client.waits.next(began)
	r := &muxQuery{path: w.client.indexPath(s.name, index, wait), token: w.client.token(), until: began.Add(longest(wait) + w.grace)}
	r.done = func(a answer) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.endpoint.metrics.rang(w.name, a)
		if ctx.Err() != nil || s.muxQuery != r {
			return
		}
		s.muxQuery = nil
		w.indexed(s, index, wait, time.Since(began), a)
	}
	s.muxQuery = r
	w.mux.start(r)
}

// indexed handles an answer: by the next query, or by reading the service. The mutex is held.
func (w *watch) indexed(s *service, index uint64, wait, waited time.Duration, a answer) {
	cut := waited >= patient && waited <= longest(wait) && (a.err != nil || slices.Contains(impatient, a.status))
	switch {
	case cut: // by an intermediary, or because it is shutting down
		w.client.waits.ended(time.Now(), waited)
		w.waitIndex(s, index)
	case a.err != nil || a.status != http.StatusOK:
		// Reading the service reports the error. Should it succeed, this must not become a busy loop.
		w.later(s, time.Now().Add(min(w.retry.First<<min(s.tries, 10), w.retry.Longest)))
		s.tries++
	case a.index == index && waited >= wait:
		s.tries = 0
		w.waitIndex(s, index)
	default:
		s.tries = 0
		if late := s.rung.take(time.Now()); late > 0 {
			w.later(s, time.Now().Add(late))
			return
		}
		w.queue.add(s)
	}
}

// stopIndex cancels a service's query. The mutex is held.
func (w *watch) stopIndex(s *service) {
	if r, mux := s.muxQuery, w.mux; r != nil {
		s.muxQuery = nil
		w.loops.Go(func() { mux.cut(r) })
	}
}

// indexPath returns the query for an index beyond the given one. The official client would keep everything for the
// request in memory while it waits.
func (c *client) indexPath(service string, index uint64, wait time.Duration) string {
	q := url.Values{
		"index": {strconv.FormatUint(index, 10)},
		"wait":  {strconv.FormatInt(wait.Milliseconds(), 10) + "ms"},
		"tag":   {noTag},
	}
	for _, part := range []struct{ key, value string }{
		{"dc", c.base.Datacenter}, {"ns", c.base.Namespace}, {"partition", c.base.Partition},
	} {
		if part.value != "" {
			q.Set(part.key, part.value)
		}
	}
	if c.cfg.Stale {
		q.Set("stale", "")
	}
	return c.base.PathPrefix + "/v1/health/service/" + url.PathEscape(service) + "?" + q.Encode()
}

// direct reports whether the environment configures no proxy to the agent.
func (e endpoint) direct() bool {
	u := &url.URL{Scheme: "https", Host: e.base.Address}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	return err == nil && proxy == nil
}

// dialHTTP2 opens an HTTP/2 connection.
func (e endpoint) dialHTTP2(ctx context.Context) (net.Conn, error) {
	address := e.base.Address
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(address, "443")
	}
	conf := e.tls.Clone()
	conf.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := &tls.Dialer{NetDialer: dialer(), Config: conf}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, during("connect to the agent", err)
	}
	if c, ok := conn.(*tls.Conn); !ok || c.ConnectionState().NegotiatedProtocol != "h2" {
		_ = conn.Close()
		return nil, errNoHTTP2
	}
	return conn, nil
}
