package status

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// pingEvery keeps a stream open through proxies that close idle connections, and shows the client that it is alive.
	pingEvery = 15 * time.Second
	// statusEvery is the minimum interval between statuses that follow events.
	statusEvery = 250 * time.Millisecond
	// writeLimit is the timeout of a write to a client.
	writeLimit = 10 * time.Second
)

// events streams server-sent events: each [Event] under its kind, and the whole [Status] as "status", at the start and
// after events.
func (s *Site) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("there are %d streams already", maxStreams))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	happened := s.daemon.Subscribe(ctx)
	missed := s.missed(r.Header.Get("Last-Event-ID"))
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx must not buffer it
	if r.Method == http.MethodHead {
		return
	}

	send := func(format string, a ...any) bool {
		if control.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
			return false
		}
		if _, err := fmt.Fprintf(w, format, a...); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	in := language(r)
	sendStatus := func() bool { return send("event: status\ndata: %s\n\n", encoded(whole(s.daemon.Status(), in))) }

	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	// Comparing gateways causes no event, so the status is also sent at intervals.
	status := time.NewTimer(time.Second)
	defer status.Stop()
	if len(missed) == 0 && r.Header.Get("Last-Event-ID") == "" {
		// Even if nothing happens until then, a client that reconnects gets the events since now.
		if !send("id: %d\n", s.newest()) {
			return
		}
	}
	if !sendStatus() {
		return
	}
	sendEvent := func(e Event) bool {
		return send("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, encoded(whole(e, in)))
	}
	last := uint64(0)
	for _, e := range missed {
		if last = e.ID; !sendEvent(e) {
			return
		}
	}
	soon := false
	for {
		var ok bool
		select {
		case <-s.ending:
			return
		case e, open := <-happened:
			if !open { // the client is gone
				return
			}
			ok = e.ID <= last || sendEvent(e) // events during Subscribe are also in missed
			if !soon {
				soon = true
				status.Reset(statusEvery)
			}
		case <-status.C:
			soon = false
			ok = sendStatus()
			status.Reset(5 * time.Second)
		case <-ping.C:
			ok = send(": still here\n\n")
		}
		if !ok {
			return
		}
	}
}

// newest returns the ID of the last event. If there is none yet, it returns an ID below all IDs of this process.
func (s *Site) newest() uint64 {
	if last := s.daemon.Timeline(1); len(last) > 0 {
		return last[0].ID
	}
	return uint64(max(1, s.daemon.Status().Started.UnixMicro()) - 1) //nolint:gosec // not negative
}

// missed returns the kept events after the one with the ID last, the client's Last-Event-ID header.
func (s *Site) missed(last string) []Event {
	id, err := strconv.ParseUint(last, 10, 64)
	if err != nil {
		return nil
	}
	all := s.daemon.Timeline(math.MaxInt)
	i := slices.IndexFunc(all, func(e Event) bool { return e.ID > id })
	if i < 0 {
		return nil
	}
	return all[i:]
}

// encoded returns JSON on one line. Values of the API can always be encoded.
func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return text
}
