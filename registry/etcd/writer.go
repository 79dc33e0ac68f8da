package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"swallowkeeper/registry/register"
)

// mostOps is how many keys a transaction changes. Servers allow 128.
const mostOps = 100

// Writer writes the keys of a node under one lease. A [Registry] of the same layout reads them.
type Writer struct {
	cfg    Config
	owner  register.Owner
	ttl    time.Duration
	client *client // nil: not connected
	root   string  // of all keys
	lock   string
	me     string // the value of the lock, which identifies this agent
	lease  clientv3.LeaseID
	have   map[string]kept // nil: must be read
}

// kept is one of our keys in etcd.
type kept struct {
	value string
	lease clientv3.LeaseID
}

const (
	ownLayout       = "swallowkeeper"
	chipmunksLayout = "chipmunks"
)

// NewWriter makes a Writer. It sends no requests. What it writes expires after ttl without it.
func (c *Config) NewWriter(owner register.Owner, ttl time.Duration) (*Writer, error) {
	if err := c.together(); err != nil {
		return nil, err
	}
	me, err := json.Marshal(owner)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: *c, owner: owner, ttl: ttl, root: strings.TrimSuffix(c.keys(), "/"), me: string(me)}
	w.lock = layouts[ownLayout].prefix + "/agents/" + owner.Node
	if c.Layout == ownLayout {
		w.lock = c.root() + "/agents/" + owner.Node
	}
	return w, nil
}

// Name returns a name for people.
func (w *Writer) Name() string { return "etcd@" + strings.Join(w.cfg.Address, ",") }

// failed describes what failed, and why.
func (w *Writer) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	explained := w.client.explain(what, err)
	switch over := rpctypes.Error(err); {
	case errors.Is(over, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd at %s: %s may not write %s: etcdctl role grant-permission ROLE readwrite --prefix %s, and the same for %s",
			w.cfg.where(), w.cfg.user(), w.root, w.root, w.lock)
	case errors.Is(over, rpctypes.ErrInvalidAuthToken), errors.Is(over, rpctypes.ErrAuthOldRevision):
		w.Close() // the next connection logs in
	}
	return explained
}

// call calls do, and again with a new token if the old one has expired.
func (w *Writer) call(do func() error) error {
	err := do()
	if err != nil && w.client == nil {
		over := rpctypes.Error(cause(err))
		if errors.Is(over, rpctypes.ErrInvalidAuthToken) || errors.Is(over, rpctypes.ErrAuthOldRevision) {
			err = do()
		}
	}
	return err
}

// connected connects if necessary, and adds the token to the context.
func (w *Writer) connected(ctx context.Context) (context.Context, error) {
	if w.client == nil {
		c, err := w.cfg.connect(context.WithoutCancel(ctx), nil)
		if err != nil {
			return ctx, err
		}
		// Without their own options, calls use ours: they do not wait for an unreachable server.
		c.KV = clientv3.NewKVFromKVClient(c.kv, nil)
		w.client = c
	}
	return w.client.signed(ctx), nil
}

// Claim takes the node's lock. It takes over the lock and lease of a killed agent of this machine, so that nothing
// changes.
func (w *Writer) Claim(ctx context.Context) error {
	ctx, err := w.connected(ctx)
	if err != nil {
		return err
	}
	got, err := w.client.Get(ctx, w.lock)
	if err != nil {
		return w.failed("read the lock", err)
	}
	unchanged := clientv3.Compare(clientv3.CreateRevision(w.lock), "=", 0)
	if len(got.Kvs) > 0 {
		kv := got.Kvs[0]
		if string(kv.Value) == w.me {
			return nil
		}
		var other register.Owner
		if json.Unmarshal(kv.Value, &other) != nil || !other.Gone() {
			return fmt.Errorf("%w has the name %s in %s: %s, since %s. Give each engine another --node; of an agent that is gone the name is free after its time to live",
				register.ErrTaken, w.owner.Node, w.Name(), w.lock, other.Since.Format(time.RFC3339))
		}
		unchanged = clientv3.Compare(clientv3.ModRevision(w.lock), "=", kv.ModRevision)
		if w.renew(ctx, clientv3.LeaseID(kv.Lease)) == nil {
			w.lease = clientv3.LeaseID(kv.Lease)
		}
	}
	if w.lease == 0 {
		lease, err := w.client.Grant(ctx, int64(w.ttl/time.Second))
		if err != nil {
			return w.failed("get a lease", err)
		}
		w.lease = lease.ID
	}
	done, err := w.client.Txn(ctx).If(unchanged).Then(clientv3.OpPut(w.lock, w.me, clientv3.WithLease(w.lease))).Commit()
	if err == nil && !done.Succeeded {
		err = errors.New("somebody else was faster")
	}
	if err != nil {
		w.lease = 0
	}
	w.have = nil
	return w.failed("take the lock", err)
}

// Keep renews the lease. If it is lost, everything must be written again.
func (w *Writer) Keep(ctx context.Context) (lost bool, err error) {
	err = w.call(func() error {
		lost, err = w.keep(ctx)
		return err
	})
	return lost, err
}

func (w *Writer) keep(ctx context.Context) (lost bool, err error) {
	if w.lease == 0 {
		return true, nil
	}
	if ctx, err = w.connected(ctx); err != nil {
		return false, err
	}
	err = w.renew(ctx, w.lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		w.lease, w.have = 0, nil
		return true, nil
	}
	return false, w.failed("renew the lease", err)
}

// renew renews a lease once. The official client would retry endlessly.
func (w *Writer) renew(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stream, err := pb.NewLeaseClient(w.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)}) // the answer tells whether it arrived
	resp, err := stream.Recv()
	if err == nil && resp.TTL <= 0 {
		err = rpctypes.ErrLeaseNotFound
	}
	return err
}

// Write puts what differs, then deletes keys of ours that are not wanted. It returns once everything is confirmed.
func (w *Writer) Write(ctx context.Context, want []register.Entry) error {
	return w.call(func() error { return w.write(ctx, want) })
}

func (w *Writer) write(ctx context.Context, want []register.Entry) error {
	if w.lease == 0 {
		if err := w.Claim(ctx); err != nil {
			return err
		}
	}
	ctx, err := w.connected(ctx)
	if err != nil {
		return err
	}
	if err := w.read(ctx); err != nil {
		return err
	}
	keys := map[string]string{}
	for _, one := range want {
		if key, value, fits := w.pair(one); fits {
			keys[key] = value
		}
	}
	var ops []clientv3.Op
	for key, value := range keys {
		if w.have[key] != (kept{value, w.lease}) {
			ops = append(ops, clientv3.OpPut(key, value, clientv3.WithLease(w.lease)))
		}
	}
	for key := range w.have {
		if _, wanted := keys[key]; !wanted {
			ops = append(ops, clientv3.OpDelete(key))
		}
	}
	for len(ops) > 0 {
		n := min(len(ops), mostOps)
		// Only the holder of the lock writes.
		done, err := w.client.Txn(ctx).If(clientv3.Compare(clientv3.Value(w.lock), "=", w.me)).Then(ops[:n]...).Commit()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound), err == nil && !done.Succeeded:
			w.lease, w.have = 0, nil
			return w.failed("write", errors.New("the lease is lost: all is written again"))
		case err != nil:
			w.have = nil
			return w.failed("write", err)
		}
		for _, op := range ops[:n] {
			if key := string(op.KeyBytes()); op.IsPut() {
				w.have[key] = kept{string(op.ValueBytes()), w.lease}
			} else {
				delete(w.have, key)
			}
		}
		ops = ops[n:]
	}
	return nil
}

// read reads our keys. It reads them each time, as somebody may have deleted one.
func (w *Writer) read(ctx context.Context) error {
	have := map[string]kept{}
	from := w.root + "/"
	if w.cfg.Layout == chipmunksLayout {
		from += w.owner.Node + "/"
	}
	end, at := clientv3.GetPrefixRangeEnd(from), int64(0)
	for key := from; ; {
		options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(page), clientv3.WithRev(at)}
		got, err := w.client.Get(ctx, key, options...)
		if err != nil {
			return w.failed("read the keys", err)
		}
		at = got.Header.Revision
		for _, kv := range got.Kvs {
			if w.ours(string(kv.Key)) {
				have[string(kv.Key)] = kept{string(kv.Value), clientv3.LeaseID(kv.Lease)}
			}
		}
		if !got.More || len(got.Kvs) == 0 {
			break
		}
		key = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
	}
	w.have = have
	w.client.dials.settled()
	return nil
}

// ours reports whether a key belongs to this node.
func (w *Writer) ours(key string) bool {
	rest := strings.TrimPrefix(key, w.root+"/")
	if w.cfg.Layout == chipmunksLayout {
		return strings.HasPrefix(rest, w.owner.Node+"/")
	}
	_, id, _ := strings.Cut(rest, "/")
	return strings.HasPrefix(id, w.owner.Node+":")
}

// pair returns the key and value of an entry. Chipmunks' layout can't express that an instance is unhealthy.
func (w *Writer) pair(e register.Entry) (key, value string, fits bool) {
	if w.cfg.Layout == chipmunksLayout {
		var v struct {
			Name string `json:"name"`
			Host struct {
				IP   string `json:"ip"`
				Port int    `json:"port"`
			} `json:"host"`
			Auth *string `json:"auth_backend"`
		}
		v.Name, v.Host.IP, v.Host.Port = e.Container, e.Address.Addr().String(), int(e.Address.Port())
		if e.Auth != "" {
			v.Auth = &e.Auth
		}
		text, err := json.Marshal(v)
		key := w.owner.Node + "/" + e.Service + "/" + e.ContainerID
		return w.root + "/" + key, string(text), err == nil && e.Healthy && chipmunk.MatchString(key)
	}
	text, err := json.Marshal(struct {
		Address string   `json:"address"`
		Weight  int      `json:"weight"`
		Healthy bool     `json:"healthy"`
		Tags    []string `json:"tags,omitempty"`
		Routes  []string `json:"routes,omitempty"`
	}{e.Address.String(), e.Weight, e.Healthy, e.Tags, e.Routes})
	return w.root + "/" + e.Service + "/" + e.ID, string(text), err == nil
}

// Leave revokes the lease if everything is set, which removes all keys under it.
func (w *Writer) Leave(ctx context.Context, everything bool) error {
	if !everything || w.lease == 0 {
		return nil
	}
	ctx, err := w.connected(ctx)
	if err != nil {
		return err
	}
	_, err = w.client.Revoke(ctx, w.lease)
	return w.failed("end the lease", err)
}

// Close closes its connection.
func (w *Writer) Close() {
	if w.client != nil {
		w.client.close()
		w.client = nil
	}
}
