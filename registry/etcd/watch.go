package etcd

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"swallowkeeper/upstream"
)

const (
	// silence is how long the watch may be silent before the store is checked.
	silence = 10 * time.Second
	// again is the wait before checking again after no answer.
	again = time.Second
	// least is the minimum time between two sets.
	least = 20 * time.Millisecond
	// apart is the minimum time between two lists.
	apart = 100 * time.Millisecond
)

// Why all keys are read.
const (
	whyStart     = "start"
	whyResync    = "resync"
	whyCompacted = "compacted"
	whyLost      = "lost"
	whyGap       = "gap"
	whyEnded     = "ended"
)

// watch is one Watch of a registry.
type watch struct {
	*Registry
	publish func(upstream.Set)

	// last is the newest state seen of the store.
	last header
	// asked is its revision at the last check.
	asked int64
	why   string

	told      *upstream.Set
	published time.Time
	due       *time.Timer // for the next set, while one is pending
	waiting   bool
}

// run reads and watches over one connection until that fails.
func (w *watch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := w.cfg.connect(ctx, w.budget)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		began := time.Now()
		if err := w.list(ctx, c); err != nil {
			return err
		}
		if w.why, err = w.follow(ctx, c); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(apart - time.Since(began)):
		}
	}
}

// list reads all keys.
func (w *watch) list(ctx context.Context, c *client) error {
	var pairs []pair
	head, err := c.list(ctx, func(p pair) { pairs = append(pairs, p) })
	if err != nil {
		return err
	}
	why := w.older(head, pairs)
	if why != "" {
		w.health.lapsed(why)
		w.why = whyLost
	}
	w.metrics.listed(w.name, w.why)
	w.mu.Lock()
	listed := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		if listed[p.key] = true; why != "" { // revisions of another history say nothing about the value
			w.table.forgetRevision(p.key)
		}
		w.table.put(p)
	}
	w.table.retain(listed)
	w.last = head
	w.mu.Unlock()
	c.dials.settled()
	w.health.heard(head.revision)
	w.nameForeign()
	w.flush()
	return nil
}

// older returns why a list shows an older state than one seen before, or "".
func (w *watch) older(head header, pairs []pair) string {
	switch {
	case w.last == header{}:
		return ""
	case head.cluster != w.last.cluster:
		return "it has another cluster ID"
	case head.revision < w.last.revision:
		return "its revision is lower than before"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range pairs {
		if e := w.table.entries[p.key]; e != nil && p.revision < e.revision {
			return "a key has a lower revision than before"
		}
	}
	return ""
}

// received is a message of a stream.
type received struct {
	resp *pb.WatchResponse
	err  error
}

// open starts a watch after the last revision. Messages and the final error are sent to the channel.
func (w *watch) open(ctx context.Context, c *client) (<-chan received, error) {
	stream, err := c.watch.Watch(c.signed(ctx), options()...)
	if err != nil {
		return nil, c.explain("watch", err)
	}
	key, end := c.between()
	err = stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: key, RangeEnd: end, StartRevision: w.last.revision + 1, PrevKv: true,
	}}})
	if err != nil {
		if _, why := stream.Recv(); why != nil { // after its end, the stream has the reason
			err = why
		}
		return nil, c.explain("watch", err)
	}
	came := make(chan received)
	w.loops.Go(func() {
		for {
			resp, err := stream.Recv()
			select {
			case came <- received{resp, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return came, nil
}

// follow applies changes until everything must be read again, and returns why.
func (w *watch) follow(ctx context.Context, c *client) (why string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came, err := w.open(ctx, c)
	if err != nil {
		return whyEnded, err
	}
	resync := time.NewTimer(w.cfg.Resync)
	defer resync.Stop()
	quiet := time.NewTimer(w.silence)
	defer quiet.Stop()
	w.due = time.NewTimer(time.Hour)
	defer w.due.Stop()
	if w.waiting {
		w.due.Reset(least)
	}
	created, asking, answers := false, false, make(chan answer, 1)
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-resync.C:
			return whyResync, nil
		case <-w.due.C:
			w.flush()
		case <-quiet.C:
			if !asking { // concurrently with the watch, which may receive changes
				asking, w.asked = true, w.last.revision
				w.loops.Go(func() {
					head, err := c.count(ctx)
					answers <- answer{head, err}
				})
			}
		case a := <-answers:
			if asking = false; ctx.Err() != nil {
				return "", ctx.Err()
			}
			c.dials.settled()
			if why := w.check(a, created); why != "" {
				return why, nil
			}
			quiet.Reset(w.silence)
			if w.health.now().Trouble != nil {
				quiet.Reset(w.again)
			}
		case r := <-came:
			if r.err != nil {
				return whyEnded, c.explain("watch", r.err)
			}
			created = created || r.resp.Created
			why, err := w.take(ctx, c, r.resp)
			c.dials.settled()
			if why != "" || err != nil {
				return why, err
			}
			quiet.Reset(w.silence)
		}
	}
}

// answer is the result of a check.
type answer struct {
	head header
	err  error
}

// check judges whether the store is there and has not lost its state, which a silent watch does not show.
func (w *watch) check(a answer, created bool) (why string) {
	switch {
	case a.err != nil:
		w.health.failed(a.err)
		return ""
	case a.head.cluster != w.last.cluster, a.head.revision < w.asked:
		return whyLost
	case !created:
		return whyEnded
	}
	w.last.revision = max(w.last.revision, a.head.revision)
	w.health.heard(w.last.revision)
	return ""
}

// take processes a message. It returns why everything must be read again, if it must.
func (w *watch) take(ctx context.Context, c *client, resp *pb.WatchResponse) (why string, err error) {
	head := headerOf(resp.Header)
	switch {
	case resp.CompactRevision != 0:
		return whyCompacted, nil
	case resp.Canceled:
		return whyEnded, c.explain("watch", cancelled(resp.CancelReason))
	case head.cluster != w.last.cluster:
		return whyLost, nil
	}
	if head.revision < w.last.revision {
		// A single member may lag behind, which does no harm. A quorum does not.
		now, err := c.count(ctx)
		if err != nil {
			return whyEnded, err
		}
		if now.cluster != w.last.cluster || now.revision < w.last.revision {
			return whyLost, nil
		}
	}
	if len(resp.Events) == 0 {
		return "", nil
	}
	w.mu.Lock()
	whole := w.apply(resp)
	w.mu.Unlock()
	if !whole {
		return whyGap, nil
	}
	w.last.revision = max(w.last.revision, head.revision)
	w.metrics.told(w.name, len(resp.Events))
	w.health.heard(w.last.revision)
	w.nameForeign()
	w.soon()
	return "", nil
}

// apply applies all events of a message. It returns false if one does not follow the known state: something is missing.
// The mutex is held.
func (w *watch) apply(resp *pb.WatchResponse) (whole bool) {
	for _, e := range resp.Events {
		key := string(e.Kv.Key)
		if before := e.PrevKv; before != nil {
			if known := w.table.entries[key]; known == nil && !w.table.foreign[key] || known != nil && known.revision < before.ModRevision {
				return false
			}
		}
		if known := w.table.entries[key]; known != nil && known.revision >= e.Kv.ModRevision {
			continue // it was in the list
		}
		if e.Type == mvccpb.DELETE {
			w.table.remove(key)
			continue
		}
		w.table.put(pairOf(e.Kv, false))
	}
	return true
}

// soon publishes now, or after the minimum time.
func (w *watch) soon() {
	if wait := least - time.Since(w.published); wait > 0 {
		if !w.waiting {
			w.waiting = true
			w.due.Reset(wait)
		}
		return
	}
	w.flush()
}

// flush publishes if anything has changed.
func (w *watch) flush() {
	w.mu.Lock()
	set := w.table.set()
	w.metrics.counted(w.name, w.table)
	w.mu.Unlock()
	w.waiting = false
	if w.told != nil && set.Identical(*w.told) {
		return
	}
	w.told, w.published = &set, time.Now()
	w.publish(set)
}
