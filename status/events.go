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
	// pingEvery keeps a stream open through what closes idle connections, and tells a reader
	// that it is.
	pingEvery = 15 * time.Second
	// statusEvery is how often at most the whole status follows what happens.
	statusEvery = 250 * time.Millisecond
	// writeLimit is how long a reader may take for what is written to it.
	writeLimit = 10 * time.Second
)

// events streams what happens, as server-sent events: each with its kind and the Event as
// JSON, and as "status" the whole Status at the start and after what happened.
func (s *Site) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("there are %d streams already", mostStreams))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	happened := s.daemon.Subscribe(ctx)
	missed := s.missed(r.Header.Get("Last-Event-ID"))
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep them back
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
	sendStatus := func() bool { return send("event: status\ndata: %s\n\n", encoded(whole(s.daemon.Status()))) }

	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	// Gateways are compared without an event too: the status follows by itself.
	status := time.NewTimer(time.Second)
	defer status.Stop()
	if len(missed) == 0 && r.Header.Get("Last-Event-ID") == "" {
		// Who comes back later gets what comes from now on, also where nothing has come meanwhile.
		if !send("id: %d\n", s.newest()) {
			return
		}
	}
	if !sendStatus() {
		return
	}
	sendEvent := func(e Event) bool { return send("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, encoded(e)) }
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
			if !open { // the reader has gone
				return
			}
			ok = e.ID <= last || sendEvent(e) // what came while it subscribed is among what it missed
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

// newest is the ID of the last event. Before the first one it is below all that this process gives.
func (s *Site) newest() uint64 {
	if last := s.daemon.Timeline(1); len(last) > 0 {
		return last[0].ID
	}
	return uint64(max(1, s.daemon.Status().Started.UnixMicro()) - 1) //nolint:gosec // it is not below 0
}

// missed is what a reader that was away has not seen, as far as it is kept: its header names
// the last event that it has.
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

// encoded is JSON on one line; no value of the API can't be encoded.
func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return text
}
