package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"swallowkeeper/internal/budget"
	"swallowkeeper/internal/clienttls"
	"swallowkeeper/registry"
)

const (
	// limit is the timeout of an answer. Servers give up after seven seconds without a leader.
	limit = 5 * time.Second
	// page is how many keys are read at once.
	page = 1000
	// mostMessage limits an answer. If the values of keys exceed it, they are read one by one, and then without their
	// values.
	mostMessage = 16 << 20
	// mostList limits what is read but not yet processed: the whole list, or a change.
	mostList = 128 << 20
)

// client is a connection to the members. The official client handles connections, balancing and security. Calls use the
// API below it: its watcher resumes a stream internally and hides whether the server still has the next revision, and
// its reads wait for an unreachable server without telling why.
type client struct {
	*clientv3.Client
	kv    pb.KVClient
	watch pb.WatchClient
	auth  pb.AuthClient
	cfg   *Config
	dials *dials

	mu    sync.Mutex
	token string // "" if not logged in
}

// dials makes the connections. It remembers why the last attempt failed, and counts what is received.
type dials struct {
	budget *budget.Budget // nil: limit each connection on its own
	peer   string

	mu    sync.Mutex
	last  error
	conns map[*counted]bool
}

// counted is a connection whose received bytes are counted.
type counted struct {
	net.Conn
	stream *budget.Stream
	dials  *dials
}

// Read implements [net.Conn].
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.stream.Read(p)
	if large := (*budget.TooLargeError)(nil); errors.As(err, &large) {
		c.dials.failed(large)
	}
	return n, err
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.dials.mu.Lock()
	delete(c.dials.conns, c)
	c.dials.mu.Unlock()
	return c.stream.Close()
}

func (d *dials) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if ctx.Err() != nil {
		d.failed(nil)
	} else {
		d.failed(err)
	}
	if err != nil {
		return nil, err
	}
	made := &counted{Conn: c, stream: d.budget.Stream(c, mostList, d.peer), dials: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[made] = true
	return made, nil
}

// failed records why there is no connection. An answer that was too large stays recorded, as the next connection will
// request it again.
func (d *dials) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if large := (*budget.TooLargeError)(nil); err != nil || !errors.As(d.last, &large) {
		d.last = err
	}
}

// settled reports that everything received was processed.
func (d *dials) settled() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		c.stream.Settled()
	}
}

func (d *dials) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// options are the options of each call: it fails at once if no member can be reached, with the reason.
func options() []grpc.CallOption {
	return []grpc.CallOption{grpc.WaitForReady(false), grpc.MaxCallRecvMsgSize(mostMessage)}
}

// connect reads the files and logs in.
func (c *Config) connect(ctx context.Context, all *budget.Budget) (*client, error) {
	cc := clientv3.Config{
		Endpoints: c.Address, Context: ctx, DialTimeout: limit, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: limit,
		MaxUnaryRetries: uint(len(c.Address)) + 1,
	}
	d := &dials{budget: all, peer: c.where(), conns: map[*counted]bool{}}
	cc.DialOptions = []grpc.DialOption{grpc.WithContextDialer(d.dial), grpc.WithDefaultCallOptions(options()...)}
	secure, err := c.addresses()
	if err != nil {
		return nil, err
	}
	if secure {
		if cc.TLS, err = clienttls.Config(c.CA, c.Cert, c.Key); err != nil {
			return nil, err
		}
	}
	made, err := clientv3.New(cc)
	if err != nil {
		return nil, (&client{cfg: c, dials: d}).explain("connect", err)
	}
	conn := made.ActiveConnection()
	opened := &client{Client: made, kv: pb.NewKVClient(conn), watch: pb.NewWatchClient(conn), auth: pb.NewAuthClient(conn), cfg: c, dials: d}
	if err := opened.login(ctx); err != nil {
		opened.close()
		return nil, err
	}
	return opened, nil
}

func (c *client) close() { _ = c.Close() }

// login gets a token if there is a user. The official client would send the old token too, and some servers then refuse
// a new one.
func (c *client) login(ctx context.Context) error {
	if c.cfg.Username == "" {
		return nil
	}
	text, err := os.ReadFile(c.cfg.PasswordFile)
	if err != nil {
		return fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return fmt.Errorf("password_file %s is empty", c.cfg.PasswordFile)
	}
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), limit) // without the old token
	defer cancel()
	resp, err := c.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: c.cfg.Username, Password: password}, options()...)
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		return nil
	case err != nil:
		return c.explain("log in", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = resp.Token
	return nil
}

// header identifies the store that answered, and its revision.
type header struct {
	cluster  uint64
	revision int64
}

func headerOf(h *pb.ResponseHeader) header { return header{h.GetClusterId(), h.GetRevision()} }

// signed adds the token, and requires a leader.
func (c *client) signed(ctx context.Context) context.Context {
	ctx = clientv3.WithRequireLeader(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, c.token)
	}
	return ctx
}

// call adds the timeout of a call.
func (c *client) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.signed(ctx), limit)
}

// count returns the store's revision, as agreed by a quorum.
func (c *client) count(ctx context.Context) (header, error) {
	key, end := c.between()
	resp, err := c.read(ctx, &pb.RangeRequest{Key: key, RangeEnd: end, CountOnly: true})
	if err != nil {
		return header{}, err
	}
	return headerOf(resp.Header), nil
}

// between returns the bounds of all keys.
func (c *client) between() (key, end []byte) {
	prefix := c.cfg.keys()
	return []byte(prefix), []byte(clientv3.GetPrefixRangeEnd(prefix))
}

// list reads all keys at one revision, page by page.
func (c *client) list(ctx context.Context, take func(pair)) (header, error) {
	key, end := c.between()
	var first header
	var total, n int64
	size := int64(page)
	for {
		resp, err := c.read(ctx, &pb.RangeRequest{Key: key, RangeEnd: end, Limit: size, Revision: first.revision})
		if status.Code(cause(err)) == codes.ResourceExhausted && size > 1 {
			size = max(size/10, 1)
			continue
		}
		unread := false
		if status.Code(cause(err)) == codes.ResourceExhausted {
			unread = true
			resp, err = c.read(ctx, &pb.RangeRequest{Key: key, RangeEnd: end, Limit: 1, Revision: first.revision, KeysOnly: true})
		}
		if err != nil {
			return header{}, err
		}
		if first.revision == 0 {
			first, total = headerOf(resp.Header), resp.Count
		}
		if got := headerOf(resp.Header); got.cluster != first.cluster || got.revision < first.revision {
			return header{}, c.trouble(errCut)
		}
		for _, kv := range resp.Kvs {
			take(pairOf(kv, unread))
		}
		n += int64(len(resp.Kvs))
		if !resp.More {
			break
		}
		if len(resp.Kvs) == 0 {
			return header{}, c.trouble(errCut)
		}
		key = append(resp.Kvs[len(resp.Kvs)-1].Key, 0)
		if unread {
			size = page
		}
	}
	if n != total {
		return header{}, c.trouble(errCut)
	}
	return first, nil
}

var errCut = errors.New("the list is cut: it has other keys than it says")

// read reads once, and logs in again if the token has expired.
func (c *client) read(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	resp, err := c.readOnce(ctx, r)
	if over := rpctypes.Error(cause(err)); errors.Is(over, rpctypes.ErrInvalidAuthToken) || errors.Is(over, rpctypes.ErrAuthOldRevision) {
		if err := c.login(ctx); err != nil {
			return nil, err
		}
		resp, err = c.readOnce(ctx, r)
	}
	return resp, err
}

func (c *client) readOnce(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	ctx, cancel := c.call(ctx)
	defer cancel()
	resp, err := c.kv.Range(ctx, r, options()...)
	if err != nil {
		return nil, c.explain("read", err)
	}
	return resp, nil
}

func pairOf(kv *mvccpb.KeyValue, unread bool) pair {
	return pair{key: string(kv.Key), value: kv.Value, revision: kv.ModRevision, leased: kv.Lease != 0, unread: unread}
}

// failure is an error with its cause.
type failure struct {
	text  string
	cause error
	// leaderless reports that the members have no leader.
	leaderless bool
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// cause returns the gRPC error behind one of ours.
func cause(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f.cause
	}
	return err
}

func (c *client) trouble(err error) error {
	return &failure{text: "etcd at " + c.cfg.where() + ": " + err.Error(), cause: err}
}

// where returns the addresses, which contain no secrets.
func (c *Config) where() string {
	const most = 3
	if n := len(c.Address); n > most {
		return strings.Join(c.Address[:most], ", ") + fmt.Sprintf(" and %d more", n-most)
	}
	return strings.Join(c.Address, ", ")
}

// lasting marks a failure that a retry can't fix.
func lasting(f *failure) error { return registry.Lasting(f) }
