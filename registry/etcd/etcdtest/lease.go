package etcdtest

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// leaser grants leases and ends them.
type leaser struct {
	pb.UnimplementedLeaseServer
	s *Server
}

// lease takes its keys along when it ends.
type lease struct {
	ttl   int64
	timer *time.Timer
	until time.Time
	keys  map[string]bool
}

// LeaseGrant grants one.
func (l *leaser) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := l.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	id := r.ID
	if id == 0 {
		l.s.nextLease++
		id = 7587848390000000000 + l.s.nextLease
	}
	if l.s.leases[id] != nil {
		return nil, rpctypes.ErrGRPCLeaseExist
	}
	ttl := max(r.TTL, 1)
	life := time.Duration(ttl) * time.Second
	l.s.leases[id] = &lease{
		ttl: ttl, keys: map[string]bool{}, until: time.Now().Add(life), timer: time.AfterFunc(life, func() { l.s.expire(id) }),
	}
	return &pb.LeaseGrantResponse{Header: l.s.header(), ID: id, TTL: ttl}, nil
}

// expire ends a lease whose time is over. Without a leader none ends.
func (s *Server) expire(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[id]
	if l == nil || time.Now().Before(l.until) {
		return
	}
	if s.leaderless {
		l.timer.Reset(time.Second)
		return
	}
	s.end(id)
}

func (s *Server) end(id int64) {
	l := s.leases[id]
	l.timer.Stop()
	delete(s.leases, id)
	s.remove(slices.Sorted(maps.Keys(l.keys)))
}

// LeaseRevoke ends one.
func (l *leaser) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := l.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	if l.s.leases[r.ID] == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	l.s.end(r.ID)
	return &pb.LeaseRevokeResponse{Header: l.s.header()}, nil
}

// LeaseKeepAlive keeps leases. For one that it does not know the TTL is 0.
func (l *leaser) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.s.enter(stream.Context(), true); err != nil {
			return err
		}
		resp := &pb.LeaseKeepAliveResponse{Header: l.s.header(), ID: r.ID}
		if kept := l.s.leases[r.ID]; kept != nil {
			life := time.Duration(kept.ttl) * time.Second
			kept.until, resp.TTL = time.Now().Add(life), kept.ttl
			kept.timer.Reset(life)
		}
		l.s.mu.Unlock()
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

// LeaseTimeToLive tells what is left of one, -1 where it is over.
func (l *leaser) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := l.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer l.s.mu.Unlock()
	resp := &pb.LeaseTimeToLiveResponse{Header: l.s.header(), ID: r.ID, TTL: -1}
	if known := l.s.leases[r.ID]; known != nil {
		resp.TTL, resp.GrantedTTL = int64(time.Until(known.until).Seconds()), known.ttl
		for _, key := range slices.Sorted(maps.Keys(known.keys)) {
			if r.Keys {
				resp.Keys = append(resp.Keys, []byte(key))
			}
		}
	}
	return resp, nil
}
