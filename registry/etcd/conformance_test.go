package etcd

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"swallowkeeper/internal/etcdtestserver"
)

// interview asks an etcd that nobody has written to, and writes down what it answers.
type interview struct {
	t    *testing.T
	c    *clientv3.Client
	said []string
}

func (i *interview) note(what string, args ...any) {
	i.said = append(i.said, fmt.Sprintf(what, args...))
}

// watch notes the next n messages of a watch.
func (i *interview) watch(ctx context.Context, n int, r *pb.WatchCreateRequest) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stream, err := pb.NewWatchClient(i.c.ActiveConnection()).Watch(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
		i.t.Fatal(err)
	}
	for range n {
		resp, err := stream.Recv()
		if err != nil {
			i.note("watch ends: %v", err)
			return
		}
		_, reason, _ := strings.Cut(resp.CancelReason, "desc = ")
		i.note("watch: created %t, canceled %t %s, compact %d, revision %d", resp.Created, resp.Canceled, reason, resp.CompactRevision, resp.Header.Revision)
		for _, e := range resp.Events {
			before := "nothing"
			if e.PrevKv != nil {
				before = fmt.Sprintf("%s at %d", e.PrevKv.Value, e.PrevKv.ModRevision)
			}
			i.note("  %s %s=%s mod %d create %d version %d lease %t, before %s", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision, e.Kv.CreateRevision, e.Kv.Version, e.Kv.Lease != 0, before)
		}
	}
}

func (i *interview) all() {
	ctx, cancel := context.WithTimeout(i.t.Context(), time.Minute)
	defer cancel()
	c := i.c
	get := func(key string, options ...clientv3.OpOption) {
		resp, err := c.Get(ctx, key, options...)
		if err != nil {
			i.note("get: %v", err)
			return
		}
		i.note("get: %d of %d, more %t, revision %d", len(resp.Kvs), resp.Count, resp.More, resp.Header.Revision)
		for _, kv := range resp.Kvs {
			i.note("  %s=%s mod %d", kv.Key, kv.Value, kv.ModRevision)
		}
	}
	do := func(op clientv3.Op) {
		_, err := c.Do(ctx, op)
		i.note("do: %v", err)
	}
	get("/", clientv3.WithPrefix())
	do(clientv3.OpPut("/a/1", "one"))                                                                                                                                                      // 2
	do(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("/a/1", "two"), clientv3.OpPut("/a/2", "x")}, nil))                                                                                // 3
	do(clientv3.OpDelete("/a/2"))                                                                                                                                                          // 4
	do(clientv3.OpDelete("/a/none"))                                                                                                                                                       // no revision
	do(clientv3.OpTxn([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("/a/1"), "=", 0)}, []clientv3.Op{clientv3.OpPut("/a/1", "no")}, []clientv3.Op{clientv3.OpPut("/a/3", "z")})) // 5
	do(clientv3.OpPut("/b", "outside"))                                                                                                                                                    // 6
	get("/a/", clientv3.WithPrefix())
	get("/a/", clientv3.WithPrefix(), clientv3.WithLimit(1))
	get("/a/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	get("/a/", clientv3.WithPrefix(), clientv3.WithRev(3))
	get("/a/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	get("/a/", clientv3.WithPrefix(), clientv3.WithRev(99))
	get("/a/1")
	key, end := []byte("/a/"), []byte(clientv3.GetPrefixRangeEnd("/a/"))
	i.watch(ctx, 2, &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: 2, PrevKv: true})
	i.watch(ctx, 2, &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: 4})
	i.watch(ctx, 1, &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: 999})
	if _, err := c.Compact(ctx, 4); err != nil {
		i.note("compact: %v", err)
	}
	_, err := c.Compact(ctx, 3)
	i.note("compact again: %v", err)
	_, err = c.Compact(ctx, 99)
	i.note("compact the future: %v", err)
	get("/a/", clientv3.WithPrefix(), clientv3.WithRev(3))
	get("/a/", clientv3.WithPrefix(), clientv3.WithRev(4))
	i.watch(ctx, 2, &pb.WatchCreateRequest{Key: key, RangeEnd: end, StartRevision: 2})
	do(clientv3.OpPut("/a/4", "leased", clientv3.WithLease(12345)))
	lease, err := c.Grant(ctx, 60)
	if err != nil {
		i.t.Fatal(err)
	}
	do(clientv3.OpPut("/a/4", "leased", clientv3.WithLease(lease.ID)))
	left, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	i.note("time to live: %v %q %v", left.GrantedTTL, left.Keys, err)
	_, err = c.Revoke(ctx, lease.ID)
	i.note("revoke: %v", err)
	_, err = c.Revoke(ctx, lease.ID)
	i.note("revoke again: %v", err)
	_, err = c.KeepAliveOnce(ctx, lease.ID)
	i.note("keep alive: %v", err)
	left, err = c.TimeToLive(ctx, lease.ID)
	i.note("time to live: %v %v", left.TTL, err)
	i.watch(ctx, 2, &pb.WatchCreateRequest{Key: []byte("/a/4"), StartRevision: 7, PrevKv: true})
	many := make([]clientv3.Op, 129)
	for n := range many {
		many[n] = clientv3.OpPut(fmt.Sprint("/many/", n), "")
	}
	do(clientv3.OpTxn(nil, many, nil))
	do(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("/a/1", "1"), clientv3.OpPut("/a/1", "2")}, nil))
	_, err = c.Authenticate(ctx, "sk", "s3cret")
	i.note("log in: %v", err)
}

// locked asks one that has authentication on, whose user sk may read below /a/.
func (i *interview) locked() {
	ctx, cancel := context.WithTimeout(i.t.Context(), time.Minute)
	defer cancel()
	kv := pb.NewKVClient(i.c.ActiveConnection())
	_, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/a/1")})
	i.note("nobody: %v", err)
	create := &pb.WatchCreateRequest{Key: []byte("/a/"), RangeEnd: []byte("/a0")}
	i.watch(ctx, 1, create)
	_, err = i.c.Authenticate(ctx, "sk", "wrong")
	i.note("wrong password: %v", err)
	resp, err := i.c.Authenticate(ctx, "sk", "s3cret")
	if err != nil {
		i.t.Fatal(err)
	}
	with := func(token string) context.Context {
		return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, token)
	}
	for _, r := range []*pb.RangeRequest{
		{Key: []byte("/a/1")}, {Key: []byte("/a/"), RangeEnd: []byte("/a0")}, {Key: []byte("/"), RangeEnd: []byte("0")}, {Key: []byte("/b")}, {Key: []byte("/a/"), RangeEnd: []byte("\x00")},
	} {
		_, err = kv.Range(with(resp.Token), r)
		i.note("range %q %q: %v", r.Key, r.RangeEnd, err)
	}
	_, err = kv.Range(with("nonsense.1"), &pb.RangeRequest{Key: []byte("/a/1")})
	i.note("wrong token: %v", err)
	i.watch(with(resp.Token), 1, create)
	i.watch(with(resp.Token), 1, &pb.WatchCreateRequest{Key: []byte("/b")})
}

// The double answers what the real one answers.
func TestConformance(t *testing.T) {
	server := etcdtestserver.Start(t)
	d := startDouble(t)
	ask := func(url string, lock func(c *clientv3.Client)) []string {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		i := &interview{t: t, c: c}
		i.all()
		lock(c)
		i.locked()
		return i.said
	}
	genuine := ask(server.URL, func(*clientv3.Client) {
		server.Lock(t, "reader")
		server.Grant(t, "reader", "/a/", clientv3.PermissionType(clientv3.PermRead))
	})
	double := ask(d.URL, func(*clientv3.Client) { d.Authentication("sk", "s3cret", "/a/") })
	if diff := cmp.Diff(genuine, double); diff != "" {
		t.Errorf("the real one (-) and the double (+) say:\n%s", diff)
	}
}
