package dockertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
)

var versioned = regexp.MustCompile(`^/v1\.(\d+)(/.*)$`)

// ServeHTTP answers one call.
func (e *Engine) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path, minor := q.URL.Path, 0
	if m := versioned.FindStringSubmatch(path); m != nil {
		minor, _ = strconv.Atoi(m[1])
		path = m[2]
	}
	e.mu.Lock()
	e.calls[path]++
	fault, mended, least, most := e.fault, e.mended, e.least, e.most
	if minor == 0 {
		minor = most
	}
	e.mu.Unlock()
	w.Header().Set("Api-Version", "1."+strconv.Itoa(most))
	w.Header().Set("Ostype", "linux")
	if fault == Hangs {
		select {
		case <-q.Context().Done():
		case <-mended:
		}
		panic(http.ErrAbortHandler)
	}
	switch {
	case path == "/_ping" && (q.Method == http.MethodGet || q.Method == http.MethodHead):
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if q.Method == http.MethodGet {
			fmt.Fprint(w, "OK")
		}
		return
	case minor > most:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("client version 1.%d is too new. Maximum supported API version is 1.%d", minor, most))
		return
	case minor < least:
		refuse(w, http.StatusBadRequest, fmt.Sprintf("client version 1.%d is too old. Minimum supported API version is 1.%d, please upgrade your client to a newer version", minor, least))
		return
	}
	if q.Method == http.MethodPost || q.Method == http.MethodDelete {
		e.act(w, q, path)
		return
	}
	if q.Method != http.MethodGet {
		refuse(w, http.StatusNotFound, "page not found")
		return
	}
	e.get(w, q, path, fault, minor)
}

func (e *Engine) get(w http.ResponseWriter, q *http.Request, path string, fault Fault, minor int) {
	id, inspection := strings.CutSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
	switch {
	case path == "/events":
		if fault == NoEvents || fault == Fails {
			refuse(w, http.StatusInternalServerError, "no events today")
			return
		}
		e.stream(w, q)
	case path == "/info":
		e.mu.Lock()
		info := system.Info{ID: "double", Name: "double", Swarm: swarm.Info{LocalNodeState: e.role, ControlAvailable: e.manager, NodeID: "node1", NodeAddr: "10.9.9.9"}}
		e.mu.Unlock()
		answer(w, http.StatusOK, info)
	case path == "/containers/json":
		e.list(w, fault, e.summaries(q.URL.Query().Get("all") == "1", minor, fault))
	case path == "/services" || path == "/tasks" || path == "/nodes":
		e.mu.Lock()
		manager := e.manager && e.role == swarm.LocalNodeStateActive
		services, tasks, nodes := e.services, e.tasks, e.nodes
		e.mu.Unlock()
		switch {
		case !manager:
			refuse(w, http.StatusServiceUnavailable, "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.")
		case path == "/services":
			e.list(w, fault, services)
		case path == "/nodes":
			e.list(w, fault, nodes)
		default:
			var f map[string]map[string]bool
			_ = json.Unmarshal([]byte(q.URL.Query().Get("filters")), &f)
			if want := f["desired-state"]; want != nil {
				tasks = slices.DeleteFunc(slices.Clone(tasks), func(t swarm.Task) bool { return !want[string(t.DesiredState)] })
			}
			e.list(w, fault, tasks)
		}
	case inspection:
		if fault == NoInspect {
			refuse(w, http.StatusInternalServerError, "can't inspect today")
			return
		}
		e.mu.Lock()
		c := e.find(id)
		var found container.InspectResponse
		if c != nil {
			found = c.inspect()
		}
		e.mu.Unlock()
		if c == nil {
			refuse(w, http.StatusNotFound, "No such container: "+id)
			return
		}
		answer(w, http.StatusOK, found)
	default:
		refuse(w, http.StatusNotFound, "page not found")
	}
}

// list answers with one, or as the fault has it.
func (e *Engine) list(w http.ResponseWriter, fault Fault, list any) {
	text, err := json.Marshal(list)
	if err != nil || string(text) == "null" {
		text = []byte("[]")
	}
	code := http.StatusOK
	switch fault {
	case Fails:
		code = http.StatusInternalServerError
	case Cuts:
		text = text[:len(text)-1]
	case Nothing:
		text = []byte("null")
	case Redirects:
		w.Header().Set("Location", "http://127.0.0.1/elsewhere")
		code, text = http.StatusMovedPermanently, []byte("[]")
	case Empty:
		text = []byte("[]")
	case Something:
		text = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n'))
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]string{"message": message})
}

// isLate reports whether a list shows a container as running that has just ended.
func (e *Engine) isLate(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containers[id]
	if c == nil || c.State != "exited" || c.late == 0 {
		return false
	}
	c.late--
	return true
}

// summaries are the containers as they are listed: those that run, paused ones among them, or all.
func (e *Engine) summaries(all bool, minor int, fault Fault) []container.Summary {
	list := []container.Summary{}
	for _, c := range e.Containers() {
		if e.isLate(c.ID) {
			c.State = "running"
		}
		if !all && c.State != "running" && c.State != "paused" && c.State != "restarting" {
			continue
		}
		s := container.Summary{
			ID: c.ID, Names: []string{"/" + c.Name}, Image: "app", Labels: c.Labels, State: container.ContainerState(c.State),
			Status: "Up 2 seconds", NetworkSettings: &container.NetworkSettingsSummary{Networks: c.endpoints()},
		}
		if fault == Incomplete {
			s.ID = ""
		}
		s.HostConfig.NetworkMode = "default"
		if c.Host {
			s.HostConfig.NetworkMode = "host"
		}
		switch c.Health {
		case "":
		case "starting":
			s.Status += " (health: starting)"
		default:
			s.Status += " (" + c.Health + ")"
		}
		if minor >= 52 { // then it is no longer said in the words alone
			s.Health = &container.HealthSummary{Status: container.HealthStatus(c.Health)}
		}
		for _, p := range c.Exposed {
			port := network.MustParsePort(p)
			if !c.Host {
				s.Ports = append(s.Ports, container.PortSummary{PrivatePort: port.Num(), Type: string(port.Proto())})
			}
		}
		for _, p := range c.Published {
			s.Ports = append(s.Ports, container.PortSummary{IP: p.IP, PrivatePort: uint16(p.Private), PublicPort: uint16(p.Public), Type: "tcp"})
		}
		list = append(list, s)
	}
	return list
}

func (c *Container) endpoints() map[string]*network.EndpointSettings {
	found := map[string]*network.EndpointSettings{}
	if c.Host {
		found["host"] = &network.EndpointSettings{NetworkID: "host"}
	}
	for name, ip := range c.Networks {
		s := &network.EndpointSettings{NetworkID: name}
		switch {
		case c.State != "running" && c.State != "paused":
		case ip.Is4():
			s.IPAddress = ip
		default:
			s.GlobalIPv6Address = ip
		}
		found[name] = s
	}
	return found
}

func (c *Container) inspect() container.InspectResponse {
	mode := container.NetworkMode("default")
	if c.Host {
		mode = "host"
	}
	found := container.InspectResponse{
		ID: c.ID, Name: "/" + c.Name, HostConfig: &container.HostConfig{NetworkMode: mode},
		Config: &container.Config{Env: c.Env, Labels: c.Labels, StopSignal: c.StopSignal, ExposedPorts: network.PortSet{}},
	}
	for _, p := range c.Exposed {
		found.Config.ExposedPorts[network.MustParsePort(p)] = struct{}{}
	}
	return found
}

// listener hears events.
type listener struct {
	heard   chan events.Message
	over    chan struct{}
	filters map[string]map[string]bool
}

func (l *listener) end() {
	select {
	case <-l.over:
	default:
		close(l.over)
	}
}

// wants reports whether the filters let an event through: by its type and by its action, up to a colon.
func (l *listener) wants(m events.Message) bool {
	action, _, _ := strings.Cut(string(m.Action), ":")
	types, actions := l.filters["type"], l.filters["event"]
	return (types == nil || types[string(m.Type)]) && (actions == nil || actions[action] || actions[string(m.Action)])
}

// tell sends an event of a container to all that hear. Who does not read loses the connection, as in dockerd.
func (e *Engine) tell(c *Container, action events.Action, more ...string) {
	attributes := map[string]string{"name": c.Name, "image": "app"}
	for k, v := range c.Labels {
		attributes[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		attributes[more[i]] = more[i+1]
	}
	e.send(events.Message{Type: events.ContainerEventType, Action: action, Actor: events.Actor{ID: c.ID, Attributes: attributes}})
}

func (e *Engine) tellNetwork(c *Container, name string, action events.Action) {
	e.send(events.Message{Type: events.NetworkEventType, Action: action, Actor: events.Actor{ID: name, Attributes: map[string]string{"container": c.ID, "name": name}}})
}

func (e *Engine) send(m events.Message) {
	m.Scope, m.TimeNano = "local", time.Now().UnixNano()
	for l := range e.listeners {
		if !l.wants(m) {
			continue
		}
		select {
		case l.heard <- m:
		default:
			l.end()
		}
	}
}

// stream sends events until somebody ends it.
func (e *Engine) stream(w http.ResponseWriter, q *http.Request) {
	l := &listener{heard: make(chan events.Message, 2000), over: make(chan struct{})}
	if text := q.URL.Query().Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &l.filters); err != nil {
			refuse(w, http.StatusBadRequest, "invalid filter")
			return
		}
		for key := range l.filters {
			if !slices.Contains([]string{"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume"}, key) {
				refuse(w, http.StatusBadRequest, "invalid filter '"+key+"'")
				return
			}
		}
	}
	e.mu.Lock()
	e.listeners[l] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.listeners, l)
		e.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	flush, encode := http.NewResponseController(w), json.NewEncoder(w)
	_ = flush.Flush()
	for {
		select {
		case m := <-l.heard:
			if encode.Encode(m) != nil || flush.Flush() != nil {
				return
			}
		case <-l.over:
			return
		case <-q.Context().Done():
			return
		}
	}
}

// Addr reads an address for a [Spec].
func Addr(s string) netip.Addr { return netip.MustParseAddr(s) }
