package etcdtest

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// kv answers reads and writes.
type kv struct {
	pb.UnimplementedKVServer
	s *Server
}

// givesUp is how long a real one waits for a leader.
const givesUp = 7 * time.Second

// enter waits while the server hangs, and then asks for a leader. It returns with the lock, or an error.
func (s *Server) enter(ctx context.Context, needsLeader bool) error {
	s.mu.Lock()
	for s.hangs {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	if !s.leaderless || !needsLeader && !wantsLeader(ctx) {
		return nil
	}
	if wantsLeader(ctx) {
		s.mu.Unlock()
		return rpctypes.ErrGRPCNoLeader
	}
	limit := time.NewTimer(givesUp)
	defer limit.Stop()
	for s.leaderless {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-limit.C:
			return rpctypes.ErrGRPCTimeout
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
	return nil
}

func wantsLeader(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get(rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// Range reads.
func (k *kv) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if len(r.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	if err := k.s.enter(ctx, !r.Serializable); err != nil {
		return nil, err
	}
	defer k.s.mu.Unlock()
	if err := k.s.may(ctx, string(r.Key), string(r.RangeEnd), false); err != nil {
		return nil, err
	}
	rev := r.Revision
	switch {
	case rev <= 0:
		rev = k.s.revision
	case rev > k.s.revision:
		return nil, rpctypes.ErrGRPCFutureRev
	case rev < k.s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	all := k.s.at(string(r.Key), string(r.RangeEnd), rev)
	resp := &pb.RangeResponse{Header: k.s.header(), Count: int64(len(all))}
	if r.CountOnly {
		return resp, nil
	}
	if r.Limit > 0 && int64(len(all)) > r.Limit {
		all, resp.More = all[:r.Limit], true
	}
	if k.s.cut && !resp.More && len(all) > 0 {
		all = all[:len(all)-1]
	}
	for _, one := range all {
		if r.KeysOnly {
			one = proto.CloneOf(one)
			one.Value = nil
		}
		resp.Kvs = append(resp.Kvs, one)
	}
	return resp, nil
}

// Put writes one key.
func (k *kv) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := k.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer k.s.mu.Unlock()
	if err := k.s.may(ctx, string(r.Key), "", true); err != nil {
		return nil, err
	}
	e, err := k.s.put(r)
	if err != nil {
		return nil, err
	}
	k.s.commit([]*mvccpb.Event{e})
	resp := &pb.PutResponse{Header: k.s.header()}
	if r.PrevKv {
		resp.PrevKv = e.PrevKv
	}
	return resp, nil
}

func (s *Server) put(r *pb.PutRequest) (*mvccpb.Event, error) {
	if len(r.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	if r.Lease != 0 && s.leases[r.Lease] == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	return s.putEvent(string(r.Key), r.Value, r.Lease), nil
}

// DeleteRange deletes.
func (k *kv) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := k.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer k.s.mu.Unlock()
	if err := k.s.may(ctx, string(r.Key), string(r.RangeEnd), true); err != nil {
		return nil, err
	}
	var keys []string
	for _, one := range k.s.at(string(r.Key), string(r.RangeEnd), k.s.revision) {
		keys = append(keys, string(one.Key))
	}
	k.s.remove(keys)
	return &pb.DeleteRangeResponse{Header: k.s.header(), Deleted: int64(len(keys))}, nil
}

// mostOps is how many operations a transaction may have.
const mostOps = 128

// Txn compares, and then puts and deletes at one revision. Nested ones and reads within are not there.
func (k *kv) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if len(r.Compare) > mostOps || len(r.Success) > mostOps || len(r.Failure) > mostOps {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	if err := k.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer k.s.mu.Unlock()
	resp := &pb.TxnResponse{Succeeded: true}
	for _, c := range r.Compare {
		is, err := k.s.holds(c)
		if err != nil {
			return nil, err
		}
		resp.Succeeded = resp.Succeeded && is
	}
	ops := r.Success
	if !resp.Succeeded {
		ops = r.Failure
	}
	var events []*mvccpb.Event
	seen := map[string]bool{}
	for _, op := range ops {
		switch op := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			e, err := k.s.put(op.RequestPut)
			if err != nil {
				return nil, err
			}
			if err := k.s.may(ctx, string(e.Kv.Key), "", true); err != nil {
				return nil, err
			}
			if seen[string(e.Kv.Key)] {
				return nil, rpctypes.ErrGRPCDuplicateKey
			}
			seen[string(e.Kv.Key)] = true
			events = append(events, e)
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{}}})
		case *pb.RequestOp_RequestDeleteRange:
			if err := k.s.may(ctx, string(op.RequestDeleteRange.Key), string(op.RequestDeleteRange.RangeEnd), true); err != nil {
				return nil, err
			}
			gone := k.s.at(string(op.RequestDeleteRange.Key), string(op.RequestDeleteRange.RangeEnd), k.s.revision)
			for _, one := range gone {
				events = append(events, &mvccpb.Event{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: one.Key}, PrevKv: one})
			}
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{
				ResponseDeleteRange: &pb.DeleteRangeResponse{Deleted: int64(len(gone))},
			}})
		case *pb.RequestOp_RequestRange:
			found := k.s.at(string(op.RequestRange.Key), string(op.RequestRange.RangeEnd), k.s.revision)
			resp.Responses = append(resp.Responses, &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{
				ResponseRange: &pb.RangeResponse{Kvs: found, Count: int64(len(found))},
			}})
		default:
			return nil, status.Error(codes.Unimplemented, "this double has no such operation")
		}
	}
	k.s.commit(events)
	resp.Header = k.s.header()
	return resp, nil
}

// holds reports whether a comparison is true.
func (s *Server) holds(c *pb.Compare) (bool, error) {
	one := s.keys[string(c.Key)]
	if one == nil {
		one = &mvccpb.KeyValue{}
	}
	var order int
	switch target := c.TargetUnion.(type) {
	case *pb.Compare_Version:
		order = int(one.Version - target.Version)
	case *pb.Compare_CreateRevision:
		order = int(one.CreateRevision - target.CreateRevision)
	case *pb.Compare_ModRevision:
		order = int(one.ModRevision - target.ModRevision)
	case *pb.Compare_Lease:
		order = int(one.Lease - target.Lease)
	case *pb.Compare_Value:
		if s.keys[string(c.Key)] == nil {
			return false, nil
		}
		if order = 1; string(one.Value) == string(target.Value) {
			order = 0
		}
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0, nil
	case pb.Compare_NOT_EQUAL:
		return order != 0, nil
	case pb.Compare_GREATER:
		return order > 0, nil
	case pb.Compare_LESS:
		return order < 0, nil
	}
	return false, status.Error(codes.Unimplemented, "this double has no such comparison")
}

// Compact forgets old revisions.
func (k *kv) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := k.s.enter(ctx, true); err != nil {
		return nil, err
	}
	defer k.s.mu.Unlock()
	switch {
	case r.Revision > k.s.revision:
		return nil, rpctypes.ErrGRPCFutureRev
	case r.Revision <= k.s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	k.s.compacted = r.Revision
	k.s.tell()
	return &pb.CompactionResponse{Header: k.s.header()}, nil
}
