package etcdtest

import (
	"context"
	"sort"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// watcher serves streams of changes.
type watcher struct {
	pb.UnimplementedWatchServer
	s *Server
}

// Watch serves one stream with any number of watches.
func (w *watcher) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	if err := w.s.enter(stream.Context(), false); err != nil {
		return err
	}
	ended, leaderless := w.s.ended, w.s.leaderless && wantsLeader(stream.Context())
	w.s.mu.Unlock()
	if leaderless {
		return rpctypes.ErrGRPCNoLeader
	}
	ctx, cancel := context.WithCancel(stream.Context())
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	requests := make(chan *pb.WatchRequest)
	var sending sync.Mutex
	send := func(r *pb.WatchResponse) {
		sending.Lock()
		defer sending.Unlock()
		if stream.Send(r) != nil {
			cancel()
		}
	}
	go func() {
		defer cancel()
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	stops := map[int64]context.CancelFunc{}
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for id := int64(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			w.s.mu.Lock()
			defer w.s.mu.Unlock()
			if w.s.leaderless {
				return rpctypes.ErrGRPCNoLeader
			}
			return rpctypes.ErrGRPCStopped
		case r := <-requests:
			switch r := r.RequestUnion.(type) {
			case *pb.WatchRequest_CreateRequest:
				mine := id
				id++
				one, stop := context.WithCancel(ctx)
				stops[mine] = stop
				watches.Go(func() { w.s.watch(one, r.CreateRequest, mine, send) })
			case *pb.WatchRequest_CancelRequest:
				if stop := stops[r.CancelRequest.WatchId]; stop != nil {
					stop()
					delete(stops, r.CancelRequest.WatchId)
					w.s.mu.Lock()
					header := w.s.header()
					w.s.mu.Unlock()
					send(&pb.WatchResponse{Header: header, WatchId: r.CancelRequest.WatchId, Canceled: true})
				}
			}
		}
	}
}

// watch sends what changes in a range, all that there is in one message.
func (s *Server) watch(ctx context.Context, r *pb.WatchCreateRequest, id int64, send func(*pb.WatchResponse)) {
	key, end := string(r.Key), string(r.RangeEnd)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.may(ctx, key, end, false); err != nil {
		s.out(send, &pb.WatchResponse{Header: s.header(), WatchId: -1, Created: true, Canceled: true, CancelReason: err.Error()})
		return
	}
	next := r.StartRevision
	if next == 0 {
		next = s.revision + 1
	}
	created := s.header()
	created.Revision -= s.behind
	s.out(send, &pb.WatchResponse{Header: created, WatchId: id, Created: true})
	for ctx.Err() == nil {
		if s.hangs {
			s.waitForChange(ctx)
			continue
		}
		if next < s.compacted && next <= s.revision {
			header := s.header()
			header.Revision = 0 // as the real one has it
			s.out(send, &pb.WatchResponse{Header: header, WatchId: id, Canceled: true, CompactRevision: s.compacted})
			return
		}
		var events []*mvccpb.Event
		for _, change := range s.since(next) {
			events = append(events, change.in(key, end, r.PrevKv)...)
		}
		if next = max(next, s.revision+1); len(events) == 0 {
			s.waitForChange(ctx)
			continue
		}
		s.out(send, &pb.WatchResponse{Header: s.header(), WatchId: id, Events: events})
	}
}

// since are the changes from a revision on.
func (s *Server) since(rev int64) []revision {
	i := sort.Search(len(s.history), func(i int) bool { return s.history[i].number >= rev })
	return s.history[i:]
}

// out sends without the lock, which it takes again.
func (s *Server) out(send func(*pb.WatchResponse), r *pb.WatchResponse) {
	s.mu.Unlock()
	defer s.mu.Lock()
	send(r)
}

// waitForChange waits without the lock.
func (s *Server) waitForChange(ctx context.Context) {
	changed := s.changed
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

// in is what a change did within a range.
func (r revision) in(key, end string, before bool) (events []*mvccpb.Event) {
	for _, e := range r.events {
		if !within(string(e.Kv.Key), key, end) {
			continue
		}
		if !before && e.PrevKv != nil {
			e = proto.CloneOf(e)
			e.PrevKv = nil
		}
		events = append(events, e)
	}
	return events
}
