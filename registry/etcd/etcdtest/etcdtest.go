// Package etcdtest is an in-process double of etcd for tests, as strict as the real one in what it does: revisions,
// watches, compaction, leases and authentication. It can be told to fail as a real one does: to lose its data or its
// leader, or to stop answering.
package etcdtest

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Server is one member that is a whole cluster.
type Server struct {
	// Addr is its host and port.
	Addr string
	// URL is its client URL.
	URL string

	secure *tls.Config

	mu      sync.Mutex
	grpc    *grpc.Server
	changed chan struct{} // closed and made anew at each change of anything
	ended   chan struct{} // closed when streams have to end, and made anew

	cluster, term uint64
	revision      int64
	compacted     int64
	history       []revision // all since the beginning
	keys          map[string]*mvccpb.KeyValue
	sorted        []string // nil: out of date
	leases        map[int64]*lease
	nextLease     int64
	users         map[string]user
	tokens        map[string]string // user by token
	issued        int
	leaderless    bool
	hangs         bool
	behind        int64 // by how much the created message of a watch is behind
	cut           bool  // lists leave out their last key
	skipped       int   // events that are never sent
}

// revision is what one change did.
type revision struct {
	number int64
	events []*mvccpb.Event // with what was before
}

// Start starts one on a free port of this machine. A nil configuration is without TLS.
func Start(secure *tls.Config) (*Server, error) {
	s := &Server{secure: secure, cluster: 0xcdf818194e3a8c32}
	s.reset()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.Addr = l.Addr().String()
	s.URL = "http://" + s.Addr
	if secure != nil {
		s.URL = "https://" + s.Addr
	}
	s.serve(l)
	return s, nil
}

func (s *Server) reset() {
	s.revision, s.compacted, s.history, s.keys, s.sorted = 1, 0, nil, map[string]*mvccpb.KeyValue{}, nil
	for _, l := range s.leases {
		l.timer.Stop()
	}
	s.leases = map[int64]*lease{}
	s.term++
	if s.changed == nil {
		s.changed, s.ended = make(chan struct{}), make(chan struct{})
	}
}

func (s *Server) serve(l net.Listener) {
	var options []grpc.ServerOption
	if s.secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(s.secure)))
	}
	g := grpc.NewServer(options...)
	pb.RegisterKVServer(g, &kv{s: s})
	pb.RegisterWatchServer(g, &watcher{s: s})
	pb.RegisterLeaseServer(g, &leaser{s: s})
	pb.RegisterAuthServer(g, &auth{s: s})
	s.mu.Lock()
	s.grpc = g
	s.mu.Unlock()
	go func() { _ = g.Serve(l) }()
}

// Stop ends it as kill -9 does. What it has stays for Restart.
func (s *Server) Stop() {
	s.mu.Lock()
	g := s.grpc
	s.hangs = false
	s.tell()
	s.mu.Unlock()
	g.Stop()
}

// Restart starts it again at its address, without its tokens, which live in memory.
func (s *Server) Restart() error {
	s.mu.Lock()
	s.tokens = nil
	s.mu.Unlock()
	l, err := net.Listen("tcp", s.Addr) //nolint:noctx // it does not wait
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.serve(l)
	return nil
}

// Lose has it begin anew, empty, with the same IDs.
func (s *Server) Lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.endStreams()
}

// LoseQuietly is Lose where the streams stay, as with a proxy before it.
func (s *Server) LoseQuietly() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.tell()
}

// Replace puts another cluster in its place, whose revision is one of its own.
func (s *Server) Replace(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset()
	s.cluster++
	s.revision = revision
	s.endStreams()
}

// NoLeader takes its leader away, or gives it one.
func (s *Server) NoLeader(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaderless = on; on {
		s.endStreams()
	}
	s.tell()
}

// Hang has it answer nothing and send nothing, with all connections open.
func (s *Server) Hang(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = on
	s.tell()
}

// CutWatches ends all streams.
func (s *Server) CutWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endStreams()
}

// CutLists has each list lack its last key.
func (s *Server) CutLists(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = on
}

// Behind has watches begin with a header that is that much behind, as from a member that lags.
func (s *Server) Behind(by int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = by
}

// Skip has the next n changes never reach a watch.
func (s *Server) Skip(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped = n
}

// Compact forgets what was before the present revision.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compacted = s.revision
	s.tell()
}

// Revision is the present one.
func (s *Server) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Put puts keys and values, in pairs, at one revision.
func (s *Server) Put(pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []*mvccpb.Event
	for i := 0; i+1 < len(pairs); i += 2 {
		events = append(events, s.putEvent(pairs[i], []byte(pairs[i+1]), 0))
	}
	s.commit(events)
}

// Delete deletes keys at one revision.
func (s *Server) Delete(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(keys)
}

func (s *Server) remove(keys []string) {
	var events []*mvccpb.Event
	for _, key := range keys {
		if before := s.keys[key]; before != nil {
			events = append(events, &mvccpb.Event{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte(key)}, PrevKv: before})
		}
	}
	s.commit(events)
}

func (s *Server) putEvent(key string, value []byte, lease int64) *mvccpb.Event {
	return &mvccpb.Event{Type: mvccpb.PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: value, Lease: lease}, PrevKv: s.keys[key]}
}

// commit makes a revision of events.
func (s *Server) commit(events []*mvccpb.Event) {
	if len(events) == 0 {
		return
	}
	s.revision++
	for _, e := range events {
		key := string(e.Kv.Key)
		e.Kv.ModRevision = s.revision
		if before := e.PrevKv; before != nil && before.Lease != 0 {
			if l := s.leases[before.Lease]; l != nil {
				delete(l.keys, key)
			}
		}
		if e.Type == mvccpb.DELETE {
			delete(s.keys, key)
			s.sorted = nil
			continue
		}
		e.Kv.CreateRevision, e.Kv.Version = s.revision, 1
		if e.PrevKv != nil {
			e.Kv.CreateRevision, e.Kv.Version = e.PrevKv.CreateRevision, e.PrevKv.Version+1
		} else {
			s.sorted = nil
		}
		s.keys[key] = e.Kv
		if l := s.leases[e.Kv.Lease]; l != nil {
			l.keys[key] = true
		}
	}
	if s.skipped > 0 {
		s.skipped--
		events = nil
	}
	s.history = append(s.history, revision{s.revision, events})
	s.tell()
}

// at is all keys in a range at a revision, in order.
func (s *Server) at(key, end string, rev int64) (list []*mvccpb.KeyValue) {
	keys := s.keys
	names := s.sorted
	if rev != s.revision {
		keys, names = map[string]*mvccpb.KeyValue{}, nil
		for _, r := range s.history {
			if r.number > rev {
				break
			}
			for _, e := range r.events {
				if e.Type == mvccpb.DELETE {
					delete(keys, string(e.Kv.Key))
				} else {
					keys[string(e.Kv.Key)] = e.Kv
				}
			}
		}
	}
	if names == nil {
		for name := range keys {
			names = append(names, name)
		}
		slices.Sort(names)
		if rev == s.revision {
			s.sorted = names
		}
	}
	from, _ := slices.BinarySearch(names, key)
	for _, name := range names[from:] {
		if !within(name, key, end) {
			break
		}
		list = append(list, keys[name])
	}
	return list
}

// within reports whether a key is in a range as etcd writes it: no end is the one key, and "\x00" is all behind.
func within(name, key, end string) bool {
	switch end {
	case "":
		return name == key
	case "\x00":
		return name >= key
	}
	return strings.Compare(name, key) >= 0 && name < end
}

// tell wakes all that wait for a change. Locked.
func (s *Server) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// endStreams ends all streams. Locked.
func (s *Server) endStreams() {
	close(s.ended)
	s.ended = make(chan struct{})
	s.tell()
}

func (s *Server) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: s.cluster, MemberId: 0x8e9e05c52164694d, RaftTerm: s.term, Revision: s.revision}
}
