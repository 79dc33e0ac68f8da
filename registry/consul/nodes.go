package consul

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"time"
	"unique"

	"github.com/hashicorp/consul/api"
)

const (
	nodesLoop = "\x00nodes"
	// settled is the delay before reading a node if the change came from a service with its own watch, as that may hide
	// another change. The delay is at least this multiple of the time to read the node.
	settled      = time.Second
	settledTimes = 20
)

// watchNodes follows the list of nodes if each has a watch, and otherwise counts them occasionally.
func (w *watch) watchNodes(ctx context.Context) {
	w.supervise(ctx, nodesLoop, "read the list of nodes", func(ctx context.Context) error {
		return w.follow(ctx, nodesLoop, w.readNodes)
	})
}

func (w *watch) readNodes(ctx context.Context, index uint64) (reply, bool, error) {
	w.mu.Lock()
	watched := w.plan.way == byNode
	w.mu.Unlock()
	if !watched && index != 0 {
		select {
		case <-ctx.Done():
			return reply{}, false, ctx.Err()
		case <-w.byNodes:
		case <-time.After(w.cfg.Wait):
		}
		index = 0
	}
	list, got, err := w.client.nodes(ctx, query{index: index})
	switch {
	case refused(err), errors.Is(err, errFiltered):
		w.noNodes()
		return reply{index: 1}, true, nil
	case err != nil || index != 0 && got.index == index:
		return got, false, err
	}
	names := make([]string, 0, len(list))
	for _, n := range list {
		if n != nil {
			names = append(names, n.Node)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodeCount, w.nodeNames = len(names), nil
	if len(names) <= w.room.watches {
		w.nodeNames = names
	}
	w.arrange()
	return got, true, nil
}

// noNodes switches to finding changes without nodes, as the token may not read them.
func (w *watch) noNodes() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodeCount, w.nodeNames = 0, nil
	w.arrange()
}

// arrangeNodes starts the watches of nodes if the plan has them, else stops them. The mutex is held.
func (w *watch) arrangeNodes() {
	var names []string
	if w.plan.way == byNode {
		names = w.nodeNames
		w.byNodes.say()
	}
	for name, n := range w.nodes {
		if slices.Contains(names, name) {
			continue
		}
		n.stop()
		delete(w.nodes, name)
		for _, s := range w.order {
			if s.stop == nil && slices.Contains(s.nodes, unique.Make(name)) {
				w.queue.add(s)
			}
		}
	}
	for _, name := range names {
		if w.nodes[name] == nil {
			w.watchNode(name)
		}
	}
}

// node is a watched node. Except for stop, only its own loop uses it.
type node struct {
	name string
	stop context.CancelFunc
	own  uint64            // the node's own index
	has  map[string]*tally // by service
	read int               // how often it was read, including failures
	done int               // the last successful reading
	// unread is when to read it despite changes explained by others; zero means never.
	unread time.Time
	took   time.Duration // duration of the last reading
	rest   time.Time     // not to be read before, to spare the agent
}

// tally is a checksum of the IDs and indexes of a service's instances on a node: the one being computed and the last
// one.
type tally struct {
	sum, was    uint64
	made, known int // number of the reading
}

// watchNode starts the watch of a node. The mutex is held.
func (w *watch) watchNode(name string) {
	ctx, stop := context.WithCancel(w.sweeping)
	n := &node{name: name, stop: stop, has: map[string]*tally{}}
	w.nodes[name] = n
	loop := "node " + name
	w.loops.Go(func() {
		defer stop()
		w.supervise(ctx, loop, "read what node "+name+" has", func(ctx context.Context) error {
			return w.follow(ctx, loop, func(ctx context.Context, index uint64) (reply, bool, error) {
				got, news, err := w.followNode(ctx, n, index)
				if refused(err) || errors.Is(err, errFiltered) {
					w.noNodes()
				}
				return got, news, err
			})
		})
	})
}

// followNode waits for a change on a node with a query whose answer is nearly empty. It then reads what the node has,
// unless a service with a watch explains the change.
func (w *watch) followNode(ctx context.Context, n *node, index uint64) (reply, bool, error) {
	if index != 0 {
		q := query{index: index}
		if !n.unread.IsZero() {
			q.most = max(time.Until(n.unread), time.Millisecond)
		}
		got, err := w.client.nodeIndex(ctx, n.name, q)
		if err != nil {
			return reply{}, false, err
		}
		if due := !n.unread.IsZero() && !time.Now().Before(n.unread); !due {
			if got.index == index {
				return got, false, nil
			}
			if !slices.Contains(w.unexplained(ctx, index, got.index), got.index) {
				if n.unread.IsZero() {
					n.unread = time.Now().Add(max(settled, settledTimes*n.took))
				}
				return got, true, nil
			}
		}
	}
	select {
	case <-ctx.Done():
		return reply{}, false, ctx.Err()
	case <-time.After(time.Until(n.rest)):
	}
	return w.readNode(ctx, n)
}

// readNode reads what a node has, and queues the services that differ from the last time.
func (w *watch) readNode(ctx context.Context, n *node) (reply, bool, error) {
	began := time.Now()
	n.read++
	own, got, err := w.client.nodeServices(ctx, n.name, func(service, id, index []byte) {
		t := n.has[string(service)]
		if t == nil {
			t = &tally{}
			n.has[string(service)] = t
		}
		if t.made != n.read {
			t.sum, t.made = 0, n.read
		}
		t.sum += w.sumOf(id, index)
	})
	if err != nil {
		return reply{}, false, err
	}
	n.took = time.Since(began)
	n.rest, n.unread = time.Now().Add(n.took), time.Time{}
	moved := own != n.own && n.own != 0
	n.own = own
	w.mu.Lock()
	defer w.mu.Unlock()
	news, first := false, n.done == 0
	for name, t := range n.has {
		if t.made != n.read {
			delete(n.has, name)
		} else if t.known == n.done && !moved && t.sum == t.was && !first {
			t.known = n.read
			continue
		} else {
			t.was, t.known = t.sum, n.read
		}
		news = true
		// A service being read for the first time is read again, as its answer may be older.
		if s := w.services[name]; s != nil && s.stop == nil && (!first || !s.known) {
			w.queue.add(s)
		}
	}
	n.done = n.read
	if first {
		// What has happened since they were read may have gone unnoticed.
		w.search.add(slices.DeleteFunc(slices.Clone(w.order), func(s *service) bool {
			return s.stop != nil || !s.known || n.has[s.name] == nil && !slices.Contains(s.nodes, unique.Make(n.name))
		}))
	}
	return got, news, nil
}

func (w *watch) sumOf(id, index []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.Write(id)
	_ = h.WriteByte(0)
	_, _ = h.Write(index)
	return h.Sum64()
}

// nodes lists all nodes.
func (c *client) nodes(ctx context.Context, q query) ([]*api.Node, reply, error) {
	there := func(list []*api.Node) bool { return list != nil }
	return ask(ctx, c, q, there, c.api.Catalog().Nodes)
}

// nodeIndex waits for a change on a node: an instance was added, removed or registered again.
func (c *client) nodeIndex(ctx context.Context, node string, q query) (reply, error) {
	q.filter = `ID == "-"`
	_, got, err := c.nodeList(ctx, node, q)
	return got, err
}

func (c *client) nodeList(ctx context.Context, node string, q query) (*api.CatalogNodeServiceList, reply, error) {
	whatever := func(*api.CatalogNodeServiceList) bool { return true }
	return ask(ctx, c, q, whatever, func(o *api.QueryOptions) (*api.CatalogNodeServiceList, *api.QueryMeta, error) {
		return c.api.Catalog().NodeServiceList(node, o)
	})
}

// nodeServices reads what a node has, calls take for each instance, and returns the node's own index. On an error the
// calls of take must be discarded.
func (c *client) nodeServices(ctx context.Context, node string, take func(service, id, index []byte)) (uint64, reply, error) {
	var own uint64
	ctx = sipping(ctx, sip{read: func(r io.Reader) (left []byte, err error) {
		own, err = readNodeServices(newLexer(r), take)
		return []byte(nothing), err
	}})
	_, got, err := c.nodeList(ctx, node, query{})
	return own, got, err
}

// readNodeServices parses the answer of /v1/catalog/node-services/NODE. A missing node has no services.
func readNodeServices(l *lexer, take func(service, id, index []byte)) (own uint64, err error) {
	_, err = l.object(func(key []byte) error {
		switch string(key) {
		case "Node":
			_, err := l.object(func(key []byte) (err error) {
				if string(key) != "ModifyIndex" {
					return l.skip()
				}
				own, err = l.number()
				return err
			})
			return err
		case "Services":
			return readInstances(l, take)
		}
		return l.skip()
	})
	return own, err
}

func readInstances(l *lexer, take func(service, id, index []byte)) error {
	if there, err := l.open('['); !there {
		return err
	}
	var service, id, index []byte
	for {
		if more, err := l.more(); !more {
			return err
		}
		service, id, index = service[:0], id[:0], index[:0]
		there, err := l.object(func(key []byte) error {
			to := &id
			switch string(key) {
			case "Service":
				to = &service
			case "ModifyIndex":
				n, err := l.number()
				index = binary.BigEndian.AppendUint64(index, n)
				return err
			case "ID":
			default:
				return l.skip()
			}
			text, err := l.text()
			*to = append(*to, text...)
			return err
		})
		switch {
		case err != nil:
			return err
		case !there, len(id) == 0, len(index) == 0:
			return errNotJSON
		}
		if service, err = unquote(service); err != nil {
			return err
		}
		take(service, id, index)
	}
}
