package caddy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"swallowkeeper/gateway"
	"swallowkeeper/upstream"
)

const (
	// mostTries limits how often a change is repeated because somebody else changed the configuration first.
	mostTries = 8
	// mostRefusals limits the attempts to find the change that Caddy refuses.
	mostRefusals = 64
)

// Apply makes all changes with one PATCH. If Caddy refuses it because of one upstream, the others are changed, and the
// error names it.
func (g *Gateway) Apply(ctx context.Context, c upstream.Changes) (gateway.Receipt, error) {
	if c.Empty() {
		return gateway.Receipt{}, nil
	}
	if err := ctx.Err(); err != nil {
		return gateway.Receipt{}, err
	}
	if err := g.open(ctx); err != nil {
		return gateway.Receipt{}, g.noAnswers(err)
	}
	a := attempt{Gateway: g, changes: c}
	err := a.make(ctx, named(c))
	return gateway.Receipt{Posted: a.posted}, err
}

// attempt is the state of one Apply.
type attempt struct {
	*Gateway
	changes  upstream.Changes
	posted   time.Time
	refusals int
	static   bool // change the configuration even if DNS answers would do
}

// named returns the names of the upstreams to change.
func named(c upstream.Changes) []string {
	var all []string
	for _, u := range c.Added {
		all = append(all, u.Name)
	}
	for _, u := range c.Updated {
		all = append(all, u.New.Name)
	}
	for _, u := range c.Removed {
		all = append(all, u.Name)
	}
	slices.Sort(all)
	return all
}

// make applies the changes of some upstreams. It bisects them to find those that Caddy refuses.
func (a *attempt) make(ctx context.Context, names []string) error {
	err := a.push(ctx, names)
	var failed *Error
	if !errors.As(err, &failed) || !failed.Refused() {
		return err
	}
	a.meter.changed(refusedOutcome)
	a.refusals++
	if len(names) == 1 {
		return refusesOne.Err(names[0], failed.Brief())
	}
	if a.refusals > mostRefusals {
		return refusesOne.Err(list(names), failed.Brief())
	}
	half := len(names) / 2
	return errors.Join(a.make(ctx, names[:half]), a.make(ctx, names[half:]))
}

// push brings some upstreams to their wanted state, and verifies that.
func (a *attempt) push(ctx context.Context, names []string) error {
	var lost error // of the last call without an answer
	for range mostTries {
		s := a.last
		if s == nil {
			var err error
			if s, err = a.look(ctx); err != nil {
				return err
			}
		}
		if done, err := a.tellOnly(ctx, s, names); done {
			return err
		}
		want := a.target(a.answered(s.set), names)
		if upstream.Diff(s.set, want).Empty() && !a.doubted(names) {
			return nil
		}
		err := a.send(ctx, s, want)
		lost = nil
		var failed *Error
		var setup setupError
		switch {
		case err == nil:
			a.posted = time.Now()
			a.tellAll(want)
			for _, name := range names {
				delete(a.doubt, name)
			}
			return a.prove(ctx, want, names)
		case errors.As(err, &failed) && (failed.Outdated() || failed.Absent()):
			a.meter.changed(outdatedOutcome)
			a.last = nil
		case errors.As(err, &failed) && failed.Refused() && a.isOld(failed):
			a.log.Info("this Caddy is an old one: weights are told by repeating servers, and stream_close_delay is left out")
			a.old = true
		case errors.As(err, &failed):
			a.last = nil
			return a.explain(err)
		case errors.As(err, &setup):
			return setup.error
		default:
			a.last = nil
			for _, name := range names {
				a.doubt[name] = true
			}
			if lost = err; !dropped(err) {
				a.meter.changed(failedOutcome)
				return broken.Err(list(names), a.explain(err))
			}
		}
	}
	if lost != nil {
		return broken.Err(list(names), a.explain(lost))
	}
	return busy.Err(mostTries, list(names))
}

// dropped reports whether the connection broke during a call. Caddy restarts its admin API with each change, and calls
// at that moment may get no answer. If-Match prevents making a change twice.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isOld reports whether Caddy refuses a feature newer than 2.6.
func (a *attempt) isOld(e *Error) bool {
	return !a.old && (strings.Contains(e.Message, "weighted_round_robin") || strings.Contains(e.Message, "stream_close_delay"))
}

func (a *attempt) doubted(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return a.doubt[name] })
}

// target returns the set to push for some upstreams: their wanted state, and what Caddy has and was not told to
// remove.
func (a *attempt) target(has upstream.Set, names []string) upstream.Set {
	changing := named(a.changes)
	var put []upstream.Upstream
	for u := range a.changes.Want.All() {
		if !slices.Contains(changing, u.Name) || slices.Contains(names, u.Name) {
			put = append(put, u)
		}
	}
	var drop []string
	for _, u := range a.changes.Removed {
		if _, wanted := a.changes.Want.Get(u.Name); !wanted && slices.Contains(names, u.Name) {
			drop = append(drop, u.Name)
		}
	}
	return has.With(put, drop)
}

// setupError means that nothing was sent because Caddy's configuration has no place for it.
type setupError struct{ error }

// send writes the wanted handlers to their place.
func (a *attempt) send(ctx context.Context, s *sight, want upstream.Set) error {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	ours := handle(render(want, a.dialect(), strconv.FormatUint(rand.Uint64(), 36)))
	switch {
	case len(s.places) == 0:
		method, path, body, err := a.place(s, ours)
		if err != nil {
			return setupError{err}
		}
		return a.client.Change(ctx, method, path, body, s.etag)
	case s.handle == nil: // the operator prepared the place, and it is empty
		return a.client.Change(ctx, http.MethodPut, "/id/"+placeID+"/handle", ours, s.etag)
	}
	return a.client.Change(ctx, http.MethodPatch, "/id/"+placeID+"/handle", ours, s.etag)
}

// place returns the request that creates our place with its content.
func (a *attempt) place(s *sight, ours []byte) (method, path string, body []byte, err error) {
	route := fmt.Appendf(nil, `{"@id":%q,"handle":%s}`, placeID, ours)
	at := "/config/apps/http/servers/" + a.config.Server
	server, there := s.servers[a.config.Server]
	switch {
	case !there && a.config.Listen == "":
		return "", "", nil, noServer.Err(strconv.Quote(a.config.Server), s.list())
	case !there:
		return http.MethodPut, at, fmt.Appendf(nil, `{"listen":[%q],"routes":[%s]}`, a.config.Listen, route), nil
	case a.config.Listen != "" && !slices.Contains(server.Listen, a.config.Listen):
		return "", "", nil, otherListen.Err(strconv.Quote(a.config.Server), strings.Join(server.Listen, " "), a.config.Listen)
	case server.Routes == nil:
		return http.MethodPost, at + "/routes", fmt.Appendf(nil, `[%s]`, route), nil
	}
	return http.MethodPost, at + "/routes", route, nil
}

// prove reads back the configuration after a push.
func (a *attempt) prove(ctx context.Context, want upstream.Set, names []string) error {
	a.last = nil
	after, err := a.look(ctx)
	if err != nil {
		a.meter.changed(failedOutcome)
		for _, name := range names {
			a.doubt[name] = true
		}
		return err
	}
	var lost []string
	for _, name := range named(upstream.Diff(after.set, want)) {
		if slices.Contains(names, name) {
			lost = append(lost, name)
		}
	}
	if lost != nil {
		a.meter.changed(failedOutcome)
		return notShown.Err(list(lost))
	}
	a.meter.changed(shownOutcome)
	return nil
}

// list returns the first few names.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}
