package status_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"swallowkeeper/generation"
	"swallowkeeper/reason"
	"swallowkeeper/status"
	"swallowkeeper/status/client"
	"swallowkeeper/status/statustest"
)

// pipes is a listener whose connections are pipes: they can live in a synctest bubble, where
// hours take no time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial connects and sends the head of a request.
func (p *pipes) dial(t *testing.T, path string, headers ...string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	p.conns <- there
	head := append([]string{"GET " + path + " HTTP/1.1", "Host: localhost"}, headers...)
	if _, err := io.WriteString(here, strings.Join(head, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return here
}

// bubble runs f with a site that serves on pipes, all of it in fake time.
func bubble(t *testing.T, d status.Daemon, f func(t *testing.T, s *status.Site, p *pipes, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		_, log := newLog()
		s, err := status.Listen(status.Config{}, d, status.Parts{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.Put(p, true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx) }()
		f(t, s, p, cancel)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass, which takes none in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// frame is one event as it came.
type frame struct {
	event, id, data, comment string
	at                       time.Time
}

// frames reads a stream until it ends.
func frames(t *testing.T, c net.Conn, each func(frame)) {
	a, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer a.Body.Close()
	if got := a.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("it is %q", got)
	}
	var f frame
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			f.event = value
		case "id":
			f.id = value
		case "data":
			f.data = value
		case "":
			if value != "" {
				f.comment = value
				continue
			}
			f.at = time.Now()
			each(f)
			f = frame{}
		}
	}
}

func TestEventsTellWhatHappens(t *testing.T) {
	schemas := document(t).Components.Schemas
	valid := func(t *testing.T, name, text string) {
		t.Helper()
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if err := schemas[name].Value.VisitJSON(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := statustest.Empty()
	bubble(t, d, func(t *testing.T, _ *status.Site, p *pipes, stop func()) {
		c := p.dial(t, "/api/v1/events")
		defer c.Close()
		var got []frame
		read := make(chan struct{})
		go func() {
			defer close(read)
			frames(t, c, func(f frame) { got = append(got, f) })
		}()
		synctest.Wait()
		if len(got) != 1 || got[0].event != "status" {
			t.Fatalf("it begins with %v", got)
		}
		began := time.Now()
		for range 100 {
			d.Tell(status.Event{Kind: "server_out", Text: reason.Text("two\nlines\r\n\r\nevent: forged " + statustest.Hostile)})
			pass(10 * time.Millisecond)
		}
		pass(time.Minute)
		synctest.Wait()
		events, pings, burst, after := 0, 0, 0, 0
		for _, f := range got[1:] {
			switch {
			case f.event == "server_out":
				events++
				valid(t, "Event", f.data)
				if f.id == "" {
					t.Error("an event has no ID")
				}
			case f.event == "status":
				valid(t, "Status", f.data)
				if f.at.Sub(began) < 1100*time.Millisecond {
					burst++
				} else {
					after++
				}
			case f.comment != "":
				pings++
			default:
				t.Errorf("a frame is %+v", f)
			}
		}
		if events != 100 || pings != 4 || burst < 3 || burst > 5 || after < 5 {
			t.Errorf("%d events, %d pings, %d statuses in the first second and %d then", events, pings, burst, after)
		}
		began = time.Now()
		stop()
		<-read // the stream ends with the program, at once
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it took %s to end", took)
		}
	})
}

func TestAReaderThatComesBackGetsWhatItMissed(t *testing.T) {
	d := statustest.Empty()
	bubble(t, d, func(t *testing.T, _ *status.Site, p *pipes, _ func()) {
		for range 4 {
			d.Tell(status.Event{Kind: "pushed"})
		}
		for name, away := range map[string]func(all []status.Event) (last string, missed []status.Event){
			"for the first time": func([]status.Event) (string, []status.Event) { return "", nil },
			"with nonsense":      func([]status.Event) (string, []status.Event) { return "-1; x", nil },
			"after the second":   func(all []status.Event) (string, []status.Event) { return fmt.Sprint(all[1].ID), all[2:] },
			"having missed nothing": func(all []status.Event) (string, []status.Event) {
				return fmt.Sprint(all[len(all)-1].ID), nil
			},
			"from an earlier process": func(all []status.Event) (string, []status.Event) {
				return fmt.Sprint(all[0].ID - 1_000_000), all
			},
		} {
			last, missed := away(d.Timeline(100))
			conn := p.dial(t, "/api/v1/events", "Last-Event-ID: "+last)
			var got []string
			read := make(chan struct{})
			go func() {
				defer close(read)
				frames(t, conn, func(f frame) {
					if f.event == "pushed" {
						got = append(got, f.id)
					}
				})
			}()
			synctest.Wait()
			d.Tell(status.Event{Kind: "pushed"})
			synctest.Wait()
			_ = conn.Close()
			<-read
			var want []string
			all := d.Timeline(100)
			for _, e := range append(missed, all[len(all)-1]) {
				want = append(want, fmt.Sprint(e.ID))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: it gets %q, want %q", name, got, want)
			}
		}
	})
}

// TestAReaderKnowsWhereItBegan: who comes for the first time gets an ID with the first status, so that
// nothing is missed when the connection breaks before anything has happened.
func TestAReaderKnowsWhereItBegan(t *testing.T) {
	quiet := statustest.Empty()
	quiet.Change(func(s *statustest.State) { s.Status.Started = time.Now().Add(-time.Minute) })
	for name, d := range map[string]*statustest.Fake{"after events": statustest.New(), "before the first": quiet} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, d, "", status.Parts{})
			c := client.Socket(r.socket)
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var last uint64
			err := c.Watch(ctx, &last, func(st *status.Status, _ *status.Event) bool { return st == nil })
			if err != nil || last == 0 {
				t.Fatalf("after the first status it knows of %d: %v", last, err)
			}
			if newest := d.Timeline(1); len(newest) > 0 && last != newest[0].ID {
				t.Errorf("it knows of %d, the newest is %d", last, newest[0].ID)
			}
			d.Tell(status.Event{Kind: "pushed", Text: reason.Text("while nobody was there")})
			var missed string
			err = c.Watch(ctx, &last, func(_ *status.Status, e *status.Event) bool {
				if e != nil {
					missed = e.Text.String()
				}
				return e == nil
			})
			if err != nil || missed != "while nobody was there" || last != d.Timeline(1)[0].ID {
				t.Errorf("it missed %q, and knows of %d: %v", missed, last, err)
			}
		})
	}
}

func TestAReaderThatDoesNotReadIsLetGo(t *testing.T) {
	d := statustest.New()
	bubble(t, d, func(t *testing.T, s *status.Site, p *pipes, _ func()) {
		c := p.dial(t, "/api/v1/events")
		defer c.Close()
		synctest.Wait()
		if s.Streams() != 1 {
			t.Fatalf("%d streams", s.Streams())
		}
		began := time.Now()
		for range 1000 { // it holds nobody up
			d.Tell(status.Event{Kind: "server_in", Text: reason.Text(strings.Repeat("x", 1000))})
		}
		if time.Since(began) > 0 {
			t.Error("it took time to tell")
		}
		pass(11 * time.Second)
		synctest.Wait()
		if s.Streams() != 0 {
			t.Error("the stream is still open")
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	bubble(t, statustest.Empty(), func(t *testing.T, s *status.Site, p *pipes, _ func()) {
		var open []net.Conn
		for range status.MostStreams {
			c := p.dial(t, "/api/v1/events")
			open = append(open, c)
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
		synctest.Wait()
		one := func() int {
			c := p.dial(t, "/api/v1/events")
			defer c.Close()
			a, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			return a.StatusCode
		}
		if code := one(); code != http.StatusServiceUnavailable {
			t.Errorf("one more answers %d", code)
		}
		open[0].Close()
		pass(10 * time.Second) // until it is noticed
		synctest.Wait()
		if code := one(); code != http.StatusOK {
			t.Errorf("when one has gone, the next answers %d", code)
		}
		for _, c := range open {
			c.Close()
		}
		pass(10 * time.Second)
		synctest.Wait()
		if n := s.Streams(); n != 0 {
			t.Errorf("%d streams are open at the end", n)
		}
	})
}

// slow is a daemon whose registries take long.
type slow struct{ *statustest.Fake }

func (slow) Explain(ctx context.Context, _ string) (status.Explanation, error) {
	<-ctx.Done()
	return status.Explanation{}, fmt.Errorf("the registry: %w", ctx.Err())
}

func TestSlowClientsAndSlowRegistries(t *testing.T) {
	bubble(t, slow{statustest.New()}, func(t *testing.T, _ *status.Site, p *pipes, _ func()) {
		began := time.Now()
		c := p.dial(t, "/api/v1/upstreams/billing")
		defer c.Close()
		a, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); a.StatusCode != http.StatusGatewayTimeout || took > 30*time.Second {
			t.Errorf("a slow registry: %d after %s", a.StatusCode, took)
		}

		here, there := net.Pipe()
		defer here.Close()
		p.conns <- there
		if _, err := io.WriteString(here, "GET /api/v1/status HTTP/1.1\r\nHost:"); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := io.Copy(io.Discard, here); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("half a request is waited for %s", took)
		}
	})
}

// order is a daemon that rolls back while the program ends.
type order struct {
	*statustest.Fake
	started chan struct{}
	wait    chan struct{}
}

func (o order) Rollback(ctx context.Context, n int, by generation.Signature) (status.RollbackResult, error) {
	close(o.started)
	select {
	case <-o.wait:
	case <-ctx.Done():
		return status.RollbackResult{}, ctx.Err()
	}
	return o.Fake.Rollback(ctx, n, by)
}

func TestAnOrderUnderWayIsCarriedOutAtTheEnd(t *testing.T) {
	o := order{statustest.New(), make(chan struct{}), make(chan struct{})}
	r := serve(t, o, "", status.Parts{})
	code := make(chan int, 1)
	go func() {
		body := strings.NewReader(`{"generation":10}`)
		q, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://s/api/v1/rollback", body)
		q.Header.Set("Content-Type", "application/json")
		a, err := r.unix.Do(q)
		if err != nil {
			code <- 0
			return
		}
		a.Body.Close()
		code <- a.StatusCode
	}()
	<-o.started
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for { // until it does not listen any more: then it is ending
		c, err := (&net.Dialer{}).DialContext(t.Context(), "unix", r.socket)
		if err != nil {
			break
		}
		c.Close()
	}
	close(o.wait)
	if got := <-code; got != http.StatusOK {
		t.Errorf("it answers %d", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
