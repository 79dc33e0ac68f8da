package dockertest

import (
	"encoding/json"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
)

// image is the only one that there is. It exposes a port.
const (
	image        = "app"
	imageExposes = "8080/tcp"
)

// signals are those that containers get here, by their names.
var signals = map[string]string{"HUP": "1", "INT": "2", "QUIT": "3", "KILL": "9", "USR1": "10", "USR2": "12", "TERM": "15"}

var (
	containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)
	leastID       = 3
)

// find is a container by its ID, its name, or the beginning of its ID; nil where there is none.
func (e *Engine) find(id string) *Container {
	if c := e.containers[id]; c != nil {
		return c
	}
	var found *Container
	for _, c := range e.containers {
		switch {
		case c.Name == strings.TrimPrefix(id, "/"):
			return c
		case len(id) >= leastID && strings.HasPrefix(c.ID, id):
			found = c
		}
	}
	return found
}

// act does what docker create, start, stop, kill and rm ask for.
func (e *Engine) act(w http.ResponseWriter, q *http.Request, path string) {
	rest, is := strings.CutPrefix(path, "/containers/")
	id, action, _ := strings.Cut(rest, "/")
	if is && rest == "create" && q.Method == http.MethodPost {
		e.make(w, q)
		return
	}
	do := map[string]func(*Container, *http.Request) (int, string){
		"POST start": e.startIt, "POST stop": e.stopIt, "POST kill": e.killIt, "DELETE ": e.removeIt,
	}[q.Method+" "+action]
	if !is || do == nil {
		refuse(w, http.StatusNotFound, "page not found")
		return
	}
	e.mu.Lock()
	c := e.find(id)
	e.mu.Unlock()
	if c == nil {
		refuse(w, http.StatusNotFound, "No such container: "+id)
		return
	}
	if code, message := do(c, q); message != "" {
		refuse(w, code, message)
	} else {
		w.WriteHeader(code)
	}
}

// make creates a container.
func (e *Engine) make(w http.ResponseWriter, q *http.Request) {
	var asked container.CreateRequest
	name := q.URL.Query().Get("name")
	kind, _, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	switch err := json.NewDecoder(q.Body).Decode(&asked); {
	case kind != "application/json":
		refuse(w, http.StatusBadRequest, "Content-Type specified ("+kind+") must be 'application/json'")
		return
	case err != nil || asked.Config == nil:
		refuse(w, http.StatusBadRequest, "config cannot be empty in order to create a container")
		return
	case name != "" && !containerName.MatchString(name):
		refuse(w, http.StatusBadRequest, "Invalid container name ("+name+"), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
		return
	case asked.Image != image && asked.Image != image+":latest":
		refuse(w, http.StatusNotFound, "No such image: "+asked.Image)
		return
	}
	s := Spec{Name: name, Labels: asked.Labels, Env: asked.Env, StopSignal: asked.StopSignal, Exposed: []string{imageExposes}}
	for port := range asked.ExposedPorts {
		if port.String() != imageExposes {
			s.Exposed = append(s.Exposed, port.String())
		}
	}
	if asked.HostConfig != nil {
		s.PublishAll = asked.HostConfig.PublishAllPorts
	}
	if asked.Healthcheck != nil && len(asked.Healthcheck.Test) > 0 {
		s.Health = "starting"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.find(name); name != "" && other != nil && other.Name == name {
		refuse(w, http.StatusConflict, `Conflict. The container name "/`+name+`" is already in use by container "`+other.ID+
			`". You have to remove (or rename) that container to be able to reuse that name.`)
		return
	}
	answer(w, http.StatusCreated, container.CreateResponse{ID: e.create(s).ID, Warnings: []string{}})
}

func (e *Engine) startIt(c *Container, _ *http.Request) (int, string) {
	e.mu.Lock()
	runs, is := c.runs(), *c
	e.mu.Unlock()
	if runs {
		return http.StatusNotModified, ""
	}
	var published []Port
	if e.programs != nil {
		at, err := e.programs.Start(is)
		if err != nil {
			return http.StatusInternalServerError, err.Error()
		}
		for _, port := range is.Exposed {
			number, _, _ := strings.Cut(port, "/")
			if private, _ := strconv.Atoi(number); is.PublishAll {
				published = append(published, Port{IP: at.Addr(), Private: private, Public: int(at.Port())})
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if published != nil {
		c.Published = published
	}
	e.run(c)
	return http.StatusNoContent, ""
}

// signal has a container's program get a signal, and the container end where that does.
func (e *Engine) signal(c *Container, signal string) (ended bool) {
	e.mu.Lock()
	is := *c
	e.tellKill(c, signal)
	e.mu.Unlock()
	if e.programs != nil {
		ended = e.programs.Signal(is, signal)
	} else {
		ended = signal == signals["KILL"] || signal == signals["TERM"] && !is.Ignores
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if ended && c.runs() {
		e.die(c)
	}
	return ended
}

func (e *Engine) stopIt(c *Container, _ *http.Request) (int, string) {
	e.mu.Lock()
	runs, onStop := c.runs(), e.onStop
	e.mu.Unlock()
	if !runs {
		return http.StatusNotModified, ""
	}
	if onStop != nil {
		onStop(c.ID)
	}
	if !e.signal(c, signals["TERM"]) {
		e.signal(c, signals["KILL"])
	}
	return http.StatusNoContent, ""
}

func (e *Engine) killIt(c *Container, q *http.Request) (int, string) {
	name := strings.TrimPrefix(strings.ToUpper(q.URL.Query().Get("signal")), "SIG")
	if name == "" {
		name = "KILL"
	}
	signal, known := signals[name]
	for _, number := range signals {
		if number == name {
			signal, known = number, true
		}
	}
	e.mu.Lock()
	runs := c.runs()
	e.mu.Unlock()
	switch {
	case !known:
		return http.StatusBadRequest, "Invalid signal: " + name
	case !runs:
		return http.StatusConflict, "Cannot kill container: " + c.Name + ": Container " + c.ID + " is not running"
	}
	e.signal(c, signal)
	return http.StatusNoContent, ""
}

func (e *Engine) removeIt(c *Container, q *http.Request) (int, string) {
	e.mu.Lock()
	runs := c.runs()
	e.mu.Unlock()
	if force, _ := strconv.ParseBool(q.URL.Query().Get("force")); runs && !force {
		return http.StatusConflict, "You cannot remove a running container " + c.ID + ". Stop the container before attempting removal or force remove"
	}
	if runs {
		e.signal(c, signals["KILL"])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remove(c)
	return http.StatusNoContent, ""
}

func (e *Engine) tellKill(c *Container, signal string) {
	e.tell(c, events.ActionKill, "signal", signal)
}
