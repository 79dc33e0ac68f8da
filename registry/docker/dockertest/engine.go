// Package dockertest is an in-process double of a Docker engine, for tests and the demo: its API with versions, events,
// containers and a swarm, and the ways in which it fails. It refuses what dockerd refuses. It has one image, called
// app.
package dockertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/swarm"
)

// Spec says what a container is made of.
type Spec struct {
	Name       string
	Labels     map[string]string
	Env        []string
	Exposed    []string // "80/tcp"
	Published  []Port
	PublishAll bool // what it exposes is published where its program listens
	Networks   map[string]netip.Addr
	Host       bool   // it has the engine's network
	Health     string // "", "starting", "healthy" or "unhealthy"
	StopSignal string // "" is SIGTERM
	Ignores    bool   // it goes on after every signal but KILL
}

// Port is one that is published.
type Port struct {
	IP              netip.Addr
	Private, Public int
}

// Container is one that was made.
type Container struct {
	Spec
	ID, State string
	born      int
	late      int // how many lists show it as running still
}

// TB is what a double needs of a test.
type TB interface {
	Failer
	Fatal(args ...any)
	Cleanup(end func())
}

// Failer ends who asks for what can't be, such as that a container ends that is not there.
type Failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Programs are what containers run. Without them a container is words alone, and ends at once when it is told to.
type Programs interface {
	// Start runs a container's program and says where it listens.
	Start(c Container) (netip.AddrPort, error)
	// Signal sends it a signal, by its number. It returns when the program has ended of it, or false at once.
	Signal(c Container, signal string) (ended bool)
}

// Engine is a double of dockerd. It is an [http.Handler], which [New] serves at a socket.
type Engine struct {
	t        Failer
	programs Programs
	Socket   string // "" where somebody else serves it

	mu         sync.Mutex
	server     *http.Server
	connected  map[net.Conn]bool
	served     sync.WaitGroup
	least      int // the minor of the oldest and newest version that it speaks
	most       int
	number     int
	containers map[string]*Container
	listeners  map[*listener]bool
	fault      Fault
	mended     chan struct{} // closed when a fault ends
	calls      map[string]int
	role       swarm.LocalNodeState
	manager    bool
	services   []swarm.Service
	tasks      []swarm.Task
	nodes      []swarm.Node
	onStop     func(id string)
}

// Fault is a way in which it fails.
type Fault int

// The faults. All but None and Refuses leave the ping well, as a dockerd in trouble does.
const (
	None       Fault = iota
	Refuses          // it is not there: no socket, no connection
	Hangs            // it takes connections and answers nothing, as a dockerd that starts
	Fails            // 500 with a whole list as its body
	Cuts             // the list ends in its middle
	Nothing          // null instead of a list
	Redirects        // a redirect with an empty list as its body
	Something        // an object instead of a list
	NoInspect        // lists are well, inspections fail
	NoEvents         // events can't be had
	Incomplete       // containers without an id
	Empty            // a list in which nothing is
)

// New starts one that speaks the API 1.24 to 1.41, as Docker 20.10 does.
func New(t TB) *Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	e := Unserved(t, nil)
	e.Socket = filepath.Join(dir, "docker.sock")
	e.start()
	t.Cleanup(e.stop)
	return e
}

// Unserved is one that its caller serves.
func Unserved(t Failer, programs Programs) *Engine {
	return &Engine{
		t: t, programs: programs, least: 24, most: 41, role: swarm.LocalNodeStateInactive,
		containers: map[string]*Container{}, listeners: map[*listener]bool{}, calls: map[string]int{}, mended: make(chan struct{}),
	}
}

// Host is what DOCKER_HOST would be.
func (e *Engine) Host() string { return "unix://" + e.Socket }

func (e *Engine) start() {
	e.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", e.Socket)
	if err != nil {
		e.t.Fatalf("%v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connected = map[net.Conn]bool{}
	e.server = &http.Server{Handler: e, ReadHeaderTimeout: time.Minute}
	server := e.server
	e.served.Go(func() { _ = server.Serve(l) })
}

// stop is a dockerd that was killed: every connection ends.
func (e *Engine) stop() {
	e.mu.Lock()
	server := e.server
	e.server = nil
	close(e.mended)
	e.mended = make(chan struct{})
	for l := range e.listeners {
		l.end()
	}
	e.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	_ = os.Remove(e.Socket)
	e.served.Wait()
}

// Speak sets the minors of the oldest and the newest version.
func (e *Engine) Speak(least, most int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.least, e.most = least, most
}

// Break has it fail, and ends what was under way but the streams of events.
func (e *Engine) Break(f Fault) {
	if f == Refuses {
		e.stop()
	}
	e.mu.Lock()
	e.fault = f
	gone := f != Refuses && e.server == nil && e.Socket != ""
	e.mu.Unlock()
	if gone {
		e.start()
	}
}

// EndEvents ends all streams of events.
func (e *Engine) EndEvents() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for l := range e.listeners {
		l.end()
	}
}

// Mend ends the fault.
func (e *Engine) Mend() {
	e.mu.Lock()
	e.fault = None
	close(e.mended)
	e.mended = make(chan struct{})
	gone := e.server == nil && e.Socket != ""
	e.mu.Unlock()
	if gone {
		e.start()
	}
}

// Calls is how often a path was asked for.
func (e *Engine) Calls(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[path]
}

// Listeners is how many streams of events are open.
func (e *Engine) Listeners() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.listeners)
}

// Run starts a container.
func (e *Engine) Run(s Spec) (id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.create(s)
	e.run(c)
	return c.ID
}

// create makes a container that does not run yet.
func (e *Engine) create(s Spec) *Container {
	e.number++
	id := fmt.Sprintf("%08x%056x", uint32(e.number)*2654435769, e.number) // told apart by its beginning, as a hash is
	if s.Name == "" {
		s.Name = "nameless_" + strconv.Itoa(e.number)
	}
	c := &Container{Spec: s, ID: id, State: "created", born: e.number}
	e.containers[id] = c
	e.tell(c, events.ActionCreate)
	return c
}

// run has a container run.
func (e *Engine) run(c *Container) {
	c.State = "running"
	for name := range c.Networks {
		e.tellNetwork(c, name, events.ActionConnect)
	}
	e.tell(c, events.ActionStart)
}

// of is a container that must be there.
func (e *Engine) of(id string) *Container {
	e.t.Helper()
	c := e.containers[id]
	if c == nil {
		e.t.Fatalf("no container %s", id)
	}
	return c
}

// change changes a container and tells of it.
func (e *Engine) change(id string, how func(c *Container), action events.Action) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.of(id)
	how(c)
	if action != "" {
		e.tell(c, action)
	}
}

// Kill sends a container a signal, by which it ends where it does.
func (e *Engine) Kill(id, signal string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.of(id)
	e.tell(c, events.ActionKill, "signal", signal)
	if signal == "9" || signal == "15" && !c.Ignores {
		e.die(c)
	}
}

// Signal is Kill of a container that goes on for now.
func (e *Engine) Signal(id, signal string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell(e.of(id), events.ActionKill, "signal", signal)
}

// Die ends a container by itself.
func (e *Engine) Die(id string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.die(e.of(id))
}

// die tells of the end before the list shows it, as Docker does.
func (e *Engine) die(c *Container) {
	c.State, c.late = "exited", 1
	e.tell(c, events.ActionDie, "exitCode", "0")
	for name := range c.Networks {
		e.tellNetwork(c, name, events.ActionDisconnect)
	}
}

// Start starts one that ended.
func (e *Engine) Start(id string) {
	e.change(id, func(c *Container) { c.State = "running" }, events.ActionStart)
}

// Remove removes one that ended, or ends it.
func (e *Engine) Remove(id string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.of(id)
	if c.runs() {
		e.tell(c, events.ActionKill, "signal", "9")
		e.die(c)
	}
	e.remove(c)
}

func (e *Engine) remove(c *Container) {
	delete(e.containers, c.ID)
	e.tell(c, events.ActionDestroy)
}

func (c *Container) runs() bool { return c.State == "running" || c.State == "paused" }

// Lose removes a container without an event, as where one got lost.
func (e *Engine) Lose(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
}

// Pause and Unpause do what docker does of the name.
func (e *Engine) Pause(id string) {
	e.change(id, func(c *Container) { c.State = "paused" }, events.ActionPause)
}

// Unpause ends it.
func (e *Engine) Unpause(id string) {
	e.change(id, func(c *Container) { c.State = "running" }, events.ActionUnPause)
}

// SetHealth tells what a health check found, if that is new. Of a container that does not run any more it tells nothing.
func (e *Engine) SetHealth(id, health string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil || c.State != "running" {
		return
	}
	e.tell(c, "exec_create: /health")
	e.tell(c, "exec_start: /health")
	e.tell(c, "exec_die")
	if c.Health != health {
		c.Health = health
		e.tell(c, events.Action("health_status: "+health))
	}
}

// Rename gives a container another name.
func (e *Engine) Rename(id, name string) {
	e.change(id, func(c *Container) { c.Name = name }, events.ActionRename)
}

// Disconnect takes a container off a network, and Connect puts it there.
func (e *Engine) Disconnect(id, network string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.of(id)
	delete(c.Networks, network)
	e.tellNetwork(c, network, events.ActionDisconnect)
}

// Connect puts a container on a network.
func (e *Engine) Connect(id, network string, ip netip.Addr) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.of(id)
	c.Networks[network] = ip
	e.tellNetwork(c, network, events.ActionConnect)
}

// Containers are all that are there, in order of their making.
func (e *Engine) Containers() []Container {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Container
	for _, c := range e.containers {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Container) int { return a.born - b.born })
	return all
}

// OnStop is called when somebody asks the engine to stop a container.
func (e *Engine) OnStop(f func(id string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onStop = f
}

// Swarm makes it a node of one: inactive, or active as a manager or worker.
func (e *Engine) Swarm(state swarm.LocalNodeState, manager bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.role, e.manager = state, manager
}

// Deploy sets what the swarm runs. No event tells of tasks.
func (e *Engine) Deploy(services []swarm.Service, tasks []swarm.Task, nodes []swarm.Node) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.services, e.tasks, e.nodes = services, tasks, nodes
}
