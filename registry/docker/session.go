package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

const (
	// stopLimit is how long a container may take to end after its stop signal before it is used again.
	stopLimit = 30 * time.Second
	// pace is the least time between two reads for events: three hundred at once are a few reads.
	pace = 50 * time.Millisecond
	// lag is after which time lists show what events told of, also of a busy engine. Docker tells of an end, a pause and the end of a
	// pause first, mostly by some milliseconds: it is asked a pace after the event, too.
	lag = 500 * time.Millisecond
	// apart is the least time between two streams of events.
	apart = time.Second
)

// heard are the events that are asked for. What a health check executes sends three more each time.
var heard = make(client.Filters).
	Add("type", string(events.ContainerEventType), string(events.NetworkEventType), string(events.ServiceEventType), string(events.NodeEventType)).
	Add("event", "create", "start", "die", "kill", "pause", "unpause", "rename", "destroy", "health_status", "connect", "disconnect", "update", "remove")

// session is a connection to an engine, from the beginning of a stream of events to its end.
type session struct {
	engine *engine
	began  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup

	asked time.Time // for the role

	mu      sync.Mutex // of all that follows
	ended   error      // why there are no more events
	manager bool
}

func (s *session) manages() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manager
}

// attend opens the stream of events where none is open.
func (r *Registry) attend(ctx context.Context) (*session, error) {
	if s := r.session; s != nil {
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended == nil {
			return s, r.role(ctx, s)
		}
		if wait := apart - time.Since(s.began); wait > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(wait):
			}
		}
		r.leave()
	}
	e, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{engine: e, began: time.Now()}
	// The stream outlives this read, and ends with Watch.
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	r.session = s
	if err := r.role(ctx, s); err != nil {
		r.leave()
		return nil, err
	}
	stream, err := call(ctx, e, "hear the events", func(within context.Context) (client.EventsResult, error) {
		answered := make(chan client.EventsResult, 1)
		go func() { answered <- e.Events(streaming, client.EventsListOptions{Filters: heard}) }()
		select {
		case stream := <-answered:
			if e.streams.Load() {
				return stream, nil
			}
			err := <-stream.Err // the client says that it has begun before it says why it has not
			if err == nil {
				err = errors.New("they ended at once")
			}
			return stream, err
		case <-within.Done():
			cancel()
			stream := <-answered
			return client.EventsResult{}, errors.Join(within.Err(), <-stream.Err) // it has ended, too
		}
	})
	if err != nil {
		r.leave()
		return nil, err
	}
	s.done.Go(func() { r.hear(streaming, s, stream) })
	return s, nil
}

// leave ends the session, and all that it started.
func (r *Registry) leave() {
	if s := r.session; s != nil {
		s.cancel()
		s.done.Wait()
		s.engine.close()
		r.session = nil
	}
}

// role finds out whether the engine is a swarm's manager. It may become one, or cease to be one, at any time.
func (r *Registry) role(ctx context.Context, s *session) error {
	if r.cfg.Swarm == swarmOff || time.Since(s.asked) < r.cfg.Resync {
		return nil
	}
	manager, err := manages(ctx, s.engine)
	if err != nil {
		return err
	}
	s.asked = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manager = manager
	return nil
}

// manages reports whether an engine is a swarm's manager. That of a worker is an error: it knows its own tasks alone.
func manages(ctx context.Context, e *engine) (bool, error) {
	info, err := call(ctx, e, "ask for the state", func(ctx context.Context) (client.SystemInfoResult, error) {
		return e.Info(ctx, client.InfoOptions{})
	})
	switch state := info.Info.Swarm; {
	case err != nil:
		return false, err
	case state.LocalNodeState == "" || state.LocalNodeState == swarm.LocalNodeStateInactive:
		return false, nil
	case state.LocalNodeState == swarm.LocalNodeStateActive && state.ControlAvailable:
		return true, nil
	case state.LocalNodeState == swarm.LocalNodeStateActive:
		return false, errWorker
	default:
		return false, fmt.Errorf("its node in the swarm is %s", state.LocalNodeState)
	}
}

// hear takes events until their stream ends: they wake, and stop signals are noted.
func (r *Registry) hear(ctx context.Context, s *session, stream client.EventsResult) {
	end := func(err error) {
		s.mu.Lock()
		s.ended = err
		s.mu.Unlock()
		if ctx.Err() == nil {
			r.log.WithField("reason", s.engine.explained(err)).Info("the engine's events ended: they are asked for again")
		}
		r.ring()
	}
	polled := time.NewTicker(r.cfg.Interval)
	defer polled.Stop()
	back := time.NewTimer(0)
	<-back.C
	defer back.Stop()
	// After an event the list is looked at soon, a pace later, and when a busy engine has caught up. look is which of these next is.
	next, look := time.NewTimer(lag), 2
	defer next.Stop()
	var looked time.Time
	for {
		select {
		case m := <-stream.Messages:
			if r.note(m) {
				back.Reset(r.back + time.Millisecond)
			}
			if look > 0 {
				look = 0
				next.Reset(pace - time.Since(looked))
			}
		case <-next.C:
			looked = time.Now()
			r.ring()
			look++
			switch look {
			case 1:
				next.Reset(pace)
			case 2:
				next.Reset(lag - pace)
			}
		case <-polled.C:
			if s.manages() {
				r.ring()
			}
		case <-back.C:
			r.ring()
		case err := <-stream.Err:
			if err == nil {
				err = errors.New("end of the stream")
			}
			end(err)
			return
		}
	}
}

// ring has everything read soon.
func (r *Registry) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// note keeps what signals a container got, and reports whether it got one now.
func (r *Registry) note(m events.Message) bool {
	if m.Type != events.ContainerEventType {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch m.Action {
	case events.ActionKill:
		n := signalNumber(m.Actor.Attributes["signal"])
		if n == 0 {
			return false
		}
		r.got(m.Actor.ID, n)
		return true
	case events.ActionDie:
		r.got(m.Actor.ID, died)
		return true
	case events.ActionStart, events.ActionDestroy:
		delete(r.kills, m.Actor.ID)
	}
	return false
}

// got notes what a container got. Locked.
func (r *Registry) got(id string, signal int) {
	if r.kills[id] == nil {
		r.kills[id] = signals{}
	}
	r.kills[id][signal] = time.Now()
}
