package consultest

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Consul gives every table, and every service, the index of its last change. An answer carries the index of
// the table or service it was read from, and a blocking query waits for that to grow. What wakes a waiting
// query is a separate matter: it watches the records it read, so that, for one, a flipped check raises the
// index of /v1/catalog/service/NAME but wakes nobody who waits there. Hence indexes and topics below.

// Names of indexes. A service's own is serviceIndex(name) and lives for as long as the service has instances.
const (
	nodesIndex      = "nodes"
	servicesIndex   = "services"
	checksIndex     = "checks"
	extinctionIndex = "extinction" // when a service last lost its last instance

	nodeExtinctionIndex = "node extinction" // when a node last went
)

// nodeIndex is a node's own. It lives for as long as the node is there.
func nodeIndex(name string) string { return "node." + strings.ToLower(name) }

func serviceIndex(name string) string { return "service." + name }

// Topics that queries watch.
const (
	nodesTopic    = "nodes"
	servicesTopic = "services"
	checksTopic   = "checks"
)

func instancesTopic(service string) string     { return "instances of " + service }
func healthTopic(service string) string        { return "health of " + service }
func stateTopic(status string) string          { return "checks in state " + status }
func nodeTopic(node string) string             { return "services of node " + strings.ToLower(node) }
func nodeChecksTopic(node string) string       { return "checks of node " + strings.ToLower(node) }
func serviceChecksTopic(service string) string { return "checks of service " + service }

// store is the catalog. The server's mutex guards it.
type store struct {
	raft     uint64            // the index of the last write
	indexes  map[string]uint64 // see above
	watchers map[string]map[chan struct{}]struct{}
	// abandoned is closed and replaced to make every waiting query return at once, changed or not.
	abandoned chan struct{}

	nodes  map[string]*node                  // by lower-case name: Consul's node names ignore case
	byName map[string]map[*instance]struct{} // by service name
}

type node struct {
	rec       *wireNode
	instances map[string]*instance  // by service ID, which is unique per node only
	checks    map[string]*wireCheck // of the node itself, by check ID
	owners    map[string]*instance  // of every check ID of the node; nil for the node's own
}

type instance struct {
	node   *node
	rec    *wireService
	checks map[string]*wireCheck
	local  bool // registered through the agent, which then lists it
}

func newStore() *store {
	return &store{
		raft:      10, // a young Consul is past its first writes as well
		indexes:   make(map[string]uint64),
		watchers:  make(map[string]map[chan struct{}]struct{}),
		abandoned: make(chan struct{}),
		nodes:     make(map[string]*node),
		byName:    make(map[string]map[*instance]struct{}),
	}
}

// begin starts a write and returns its index. As in Raft a write has one even if it turns out to change nothing.
func (st *store) begin() uint64 {
	st.raft++
	return st.raft
}

func (st *store) raise(index uint64, names ...string) {
	for _, n := range names {
		st.indexes[n] = index
	}
}

// watch has ch signalled, without blocking, when one of the topics changes.
func (st *store) watch(ch chan struct{}, topics []string) {
	for _, t := range topics {
		if st.watchers[t] == nil {
			st.watchers[t] = make(map[chan struct{}]struct{})
		}
		st.watchers[t][ch] = struct{}{}
	}
}

func (st *store) unwatch(ch chan struct{}, topics []string) {
	for _, t := range topics {
		delete(st.watchers[t], ch)
		if len(st.watchers[t]) == 0 {
			delete(st.watchers, t)
		}
	}
}

func (st *store) wake(topics ...string) {
	for _, t := range topics {
		for ch := range st.watchers[t] {
			select {
			case ch <- struct{}{}:
			default: // told already
			}
		}
	}
}

// abandon makes every waiting query return, as when a server restores a snapshot.
func (st *store) abandon() {
	close(st.abandoned)
	st.abandoned = make(chan struct{})
}

func (st *store) node(name string) *node { return st.nodes[strings.ToLower(name)] }

// putNode adds or replaces a node. The node is part of each of its instances' health.
func (st *store) putNode(idx uint64, rec wireNode) *node {
	n := st.node(rec.Node)
	rec.CreateIndex, rec.ModifyIndex = idx, idx
	if n == nil {
		n = &node{
			instances: make(map[string]*instance),
			checks:    make(map[string]*wireCheck),
			owners:    make(map[string]*instance),
		}
		st.nodes[strings.ToLower(rec.Node)] = n
	} else {
		rec.CreateIndex, rec.ModifyIndex = n.rec.CreateIndex, n.rec.ModifyIndex
		if reflect.DeepEqual(*n.rec, rec) {
			return n
		}
		rec.ModifyIndex = idx
	}
	n.rec = &rec
	st.raise(idx, nodesIndex, nodeIndex(rec.Node))
	st.wake(nodesTopic, nodeTopic(rec.Node))
	for _, i := range n.instances {
		st.raise(idx, serviceIndex(i.rec.Service))
		st.wake(healthTopic(i.rec.Service), instancesTopic(i.rec.Service))
	}
	return n
}

// putInstance adds or replaces an instance. One that is registered again just as it was wakes nobody.
func (st *store) putInstance(idx uint64, n *node, rec wireService) *instance {
	i := n.instances[rec.ID]
	rec.CreateIndex, rec.ModifyIndex = idx, idx
	if i == nil {
		i = &instance{node: n, checks: make(map[string]*wireCheck)}
		n.instances[rec.ID] = i
	} else {
		rec.CreateIndex, rec.ModifyIndex = i.rec.CreateIndex, i.rec.ModifyIndex
		if reflect.DeepEqual(*i.rec, rec) {
			return i
		}
		rec.ModifyIndex = idx
		if i.rec.Service != rec.Service {
			st.leave(idx, i)
		}
	}
	i.rec = &rec
	if st.byName[rec.Service] == nil {
		st.byName[rec.Service] = make(map[*instance]struct{})
	}
	st.byName[rec.Service][i] = struct{}{}
	st.raise(idx, servicesIndex, serviceIndex(rec.Service), nodesIndex, nodeIndex(n.rec.Node))
	st.wake(servicesTopic, instancesTopic(rec.Service), healthTopic(rec.Service), nodeTopic(n.rec.Node))
	return i
}

// leave takes an instance out of its service, and the service's own index away with its last instance.
func (st *store) leave(idx uint64, i *instance) {
	name := i.rec.Service
	delete(st.byName[name], i)
	if len(st.byName[name]) > 0 {
		st.raise(idx, serviceIndex(name))
	} else {
		delete(st.byName, name)
		delete(st.indexes, serviceIndex(name))
		st.raise(idx, extinctionIndex)
	}
	st.wake(instancesTopic(name), healthTopic(name))
}

func (st *store) deleteInstance(idx uint64, i *instance) {
	for _, c := range i.checks {
		st.deleteCheck(idx, i.node, c.CheckID)
	}
	delete(i.node.instances, i.rec.ID)
	// The tables of checks and nodes are as of now as well, though nobody who watches them is woken.
	st.raise(idx, servicesIndex, nodesIndex, checksIndex, nodeIndex(i.node.rec.Node))
	st.leave(idx, i)
	st.wake(servicesTopic, nodeTopic(i.node.rec.Node))
}

// putCheck adds or replaces a check of an instance, or of the node where i is nil.
func (st *store) putCheck(idx uint64, n *node, i *instance, rec wireCheck) {
	rec.Node = n.rec.Node
	rec.ServiceID, rec.ServiceName, rec.ServiceTags = "", "", []string{}
	if i != nil {
		rec.ServiceID, rec.ServiceName, rec.ServiceTags = i.rec.ID, i.rec.Service, i.rec.Tags
	}
	if rec.Status == "" {
		rec.Status = "critical"
	}
	rec.CreateIndex, rec.ModifyIndex = idx, idx
	old := n.check(rec.CheckID)
	if old != nil {
		rec.CreateIndex, rec.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if reflect.DeepEqual(*old, rec) {
			return
		}
		rec.ModifyIndex = idx
		if n.owners[rec.CheckID] != i {
			st.deleteCheck(idx, n, rec.CheckID)
		}
		st.wake(stateTopic(old.Status))
	}
	n.owners[rec.CheckID] = i
	if i != nil {
		i.checks[rec.CheckID] = &rec
	} else {
		n.checks[rec.CheckID] = &rec
	}
	st.raise(idx, checksIndex)
	st.touchHealth(idx, n, i)
	st.wakeChecks(&rec)
}

func (st *store) deleteCheck(idx uint64, n *node, id string) {
	old := n.check(id)
	if old == nil {
		return
	}
	i := n.owners[id]
	delete(n.owners, id)
	if i != nil {
		delete(i.checks, id)
	} else {
		delete(n.checks, id)
		// Consul counts the end of a node's check as a change of the list of services, yet wakes nobody for it.
		st.raise(idx, servicesIndex)
	}
	st.raise(idx, checksIndex)
	st.touchHealth(idx, n, i)
	st.wakeChecks(old)
}

// touchHealth marks the health of one instance's service as changed, or of all on a node: its checks count for
// each of them.
func (st *store) touchHealth(idx uint64, n *node, i *instance) {
	if i != nil {
		st.raise(idx, serviceIndex(i.rec.Service))
		st.wake(healthTopic(i.rec.Service))
		return
	}
	for _, i := range n.instances {
		st.raise(idx, serviceIndex(i.rec.Service))
		st.wake(healthTopic(i.rec.Service))
	}
}

func (st *store) wakeChecks(c *wireCheck) {
	st.wake(checksTopic, stateTopic(c.Status), nodeChecksTopic(c.Node))
	if c.ServiceName != "" {
		st.wake(serviceChecksTopic(c.ServiceName))
	}
}

func (st *store) deleteNode(idx uint64, n *node) {
	for _, i := range n.instances {
		st.deleteInstance(idx, i)
	}
	for id := range n.checks {
		st.deleteCheck(idx, n, id)
	}
	delete(st.nodes, strings.ToLower(n.rec.Node))
	delete(st.indexes, nodeIndex(n.rec.Node))
	st.raise(idx, nodesIndex, nodeExtinctionIndex)
	st.wake(nodesTopic, nodeTopic(n.rec.Node))
}

func (n *node) check(id string) *wireCheck {
	i, ok := n.owners[id]
	switch {
	case !ok:
		return nil
	case i != nil:
		return i.checks[id]
	}
	return n.checks[id]
}

// instancesOf lists a service's instances in Consul's order: by node, then by ID.
func (st *store) instancesOf(service string) []*instance {
	return slices.SortedFunc(maps.Keys(st.byName[service]), func(a, b *instance) int {
		return cmp.Or(
			cmp.Compare(strings.ToLower(a.node.rec.Node), strings.ToLower(b.node.rec.Node)),
			cmp.Compare(a.rec.ID, b.rec.ID),
		)
	})
}

// checksOf lists what decides on an instance: first the node's checks, then its own.
func checksOf(i *instance) []*wireCheck {
	out := make([]*wireCheck, 0, len(i.node.checks)+len(i.checks))
	return append(append(out, sortedChecks(i.node.checks)...), sortedChecks(i.checks)...)
}

func sortedChecks(m map[string]*wireCheck) []*wireCheck {
	return slices.SortedFunc(maps.Values(m), compareChecks)
}

func compareChecks(a, b *wireCheck) int {
	return cmp.Or(
		cmp.Compare(strings.ToLower(a.Node), strings.ToLower(b.Node)),
		cmp.Compare(a.CheckID, b.CheckID),
	)
}

// eachCheck calls f with every check there is, in no order.
func (st *store) eachCheck(f func(*wireCheck)) {
	for _, n := range st.nodes {
		for _, c := range n.checks {
			f(c)
		}
		for _, i := range n.instances {
			for _, c := range i.checks {
				f(c)
			}
		}
	}
}

// indexOf is the index of a service: its own, or for want of instances when a service last ceased to be, or
// else the latest of the named tables. For that reason those who wait for a service that does not exist are
// woken by what happens to others.
func (st *store) indexOf(service string, tables ...string) uint64 {
	if _, ok := st.byName[service]; ok {
		return st.indexes[serviceIndex(service)]
	}
	if idx, ok := st.indexes[extinctionIndex]; ok {
		return idx
	}
	var idx uint64
	for _, t := range tables {
		idx = max(idx, st.indexes[t])
	}
	return idx
}
