package poll_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"swallowkeeper/registry"
	"swallowkeeper/registry/poll"
	"swallowkeeper/upstream"
)

var _ registry.Registry = (*poll.Registry)(nil)

func set(addrs ...string) upstream.Set {
	u := upstream.Upstream{Name: "web"}
	for _, a := range addrs {
		u.Servers = append(u.Servers, upstream.Server{Addr: netip.MustParseAddrPort(a), Weight: 1})
	}
	return upstream.NewSet([]upstream.Upstream{u})
}

// TestWatch plays an outage: what is read is published once, a trouble is told once a minute and tried again soon, and
// nothing is published of it.
func TestWatch(t *testing.T) {
	for _, durable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log, said := test.NewNullLogger()
			began := time.Now()
			var mu sync.Mutex // of all that follows
			var reads []time.Duration
			now, broken := set("10.0.0.1:80"), errors.New("no route")
			var err error
			changed := make(chan struct{}, 1)
			r := &poll.Registry{Every: 10 * time.Second, Log: log, Changed: changed, Durable: durable}
			r.Read = func(context.Context) (upstream.Set, error) {
				mu.Lock()
				defer mu.Unlock()
				reads = append(reads, time.Since(began))
				return now, err
			}
			published := 0
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- r.Watch(ctx, func(upstream.Set) {
					mu.Lock()
					defer mu.Unlock()
					published++
				})
			}()

			pass := func(d time.Duration) {
				<-time.After(d)
				synctest.Wait()
				mu.Lock()
			}
			say := func(set upstream.Set, trouble error) {
				now, err = set, trouble
				mu.Unlock()
			}
			pass(25 * time.Second)
			if len(reads) != 3 || published != 1 || !r.Condition().Heard.Equal(began.Add(20*time.Second)) {
				t.Errorf("read at %v, published %d, %+v", reads, published, r.Condition())
			}
			say(upstream.Set{}, broken)
			changed <- struct{}{}
			pass(0)
			c := r.Condition()
			if !errors.Is(c.Trouble, broken) || !c.Since.Equal(began.Add(25*time.Second)) || c.Lapsed.IsZero() != durable || published != 1 {
				t.Errorf("in trouble: %+v, published %d", c, published)
			}
			before := len(reads)
			mu.Unlock()
			pass(time.Second)
			if n := len(reads) - before; n < 2 {
				t.Errorf("it was tried again %d times in a second", n)
			}
			mu.Unlock()
			pass(2 * time.Minute)
			if n := len(said.AllEntries()); n < 2 || n > 3 {
				t.Errorf("the log was told %d times in two minutes", n)
			}
			if got := reads[len(reads)-1] - reads[len(reads)-2]; got > 10*time.Second {
				t.Errorf("after a long trouble it was read after %s", got)
			}
			say(set("10.0.0.1:80", "10.0.0.2:80"), nil)
			pass(11 * time.Second)
			if c := r.Condition(); c.Trouble != nil || !c.Since.IsZero() || published != 2 || said.LastEntry().Message != "everything can be read again" {
				t.Errorf("well again: %+v, published %d, %s", c, published, said.LastEntry().Message)
			}
			mu.Unlock()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// TestPartial: a set beside a partial error is published, and the trouble is told; the answers were not broken off.
func TestPartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := test.NewNullLogger()
		r := &poll.Registry{Every: time.Second, Log: log}
		wrong := errors.New("web is not known")
		var reads atomic.Int32
		r.Read = func(context.Context) (upstream.Set, error) {
			if reads.Add(1) == 3 {
				return set("10.0.0.2:80"), nil
			}
			return set("10.0.0.1:80"), poll.Partial(wrong)
		}
		ctx, cancel := context.WithCancel(t.Context())
		published := make(chan upstream.Set, 10)
		done := make(chan error, 1)
		go func() { done <- r.Watch(ctx, func(s upstream.Set) { published <- s }) }()
		<-time.After(1500 * time.Millisecond)
		if c := r.Condition(); len(published) != 1 || !errors.Is(c.Trouble, wrong) || poll.IsPartial(c.Trouble) || !c.Lapsed.IsZero() || c.Heard.IsZero() || reads.Load() != 2 {
			t.Errorf("%d published after %d reads, %+v", len(published), reads.Load(), c)
		}
		<-time.After(time.Second)
		if c := r.Condition(); len(published) != 2 || c.Trouble != nil {
			t.Errorf("%d published, %+v", len(published), c)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
