package status

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"swallowkeeper/generation"
	"swallowkeeper/reason"
)

//go:embed openapi.yaml
var openAPI []byte

// route is a path of the API.
type route struct {
	pattern string // for http.ServeMux
	kind    kind
	serve   http.HandlerFunc
	order   func(*http.Request, generation.Signature) (any, error) // handles a change, instead of serve
}

// kind is how a route is limited.
type kind int

const (
	small kind = iota // answered at once, whatever the load
	large             // waits for its turn
)

// routes returns all routes except the page's.
func (s *Site) routes() []route {
	d := s.daemon
	return []route{
		{pattern: "GET /healthz", kind: small, serve: s.health},
		{pattern: "GET /readyz", kind: small, serve: s.ready},
		{pattern: "GET /api/v1/openapi.yaml", kind: small, serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			_, _ = w.Write(openAPI)
		}},
		{pattern: "GET /api/v1/status", kind: large, serve: show(func(*http.Request) (any, error) { return d.Status(), nil })},
		{pattern: "GET /api/v1/upstreams", kind: large, serve: func(w http.ResponseWriter, r *http.Request) {
			answerEach(w, r, "upstreams", d.Upstreams())
		}},
		{pattern: "GET /api/v1/upstreams/{name}", kind: large, serve: show(func(r *http.Request) (any, error) {
			return d.Explain(r.Context(), r.PathValue("name"))
		})},
		{pattern: "GET /api/v1/routes", kind: large, serve: show(func(*http.Request) (any, error) {
			return map[string]any{"routes": AllRoutes(d.Upstreams())}, nil
		})},
		{pattern: "GET /api/v1/routes/match", kind: large, serve: show(func(r *http.Request) (any, error) {
			q := r.URL.Query()
			return MatchRoute(AllRoutes(d.Upstreams()), q.Get("method"), q.Get("url"))
		})},
		{pattern: "GET /api/v1/gateways", kind: large, serve: show(func(*http.Request) (any, error) {
			return map[string]any{"gateways": d.Status().Gateways}, nil
		})},
		{pattern: "GET /api/v1/holds", kind: large, serve: show(func(*http.Request) (any, error) {
			return map[string]any{"holds": d.Status().Holds}, nil
		})},
		{pattern: "GET /api/v1/history", kind: large, serve: show(func(*http.Request) (any, error) {
			kept, err := d.History()
			return map[string]any{"generations": kept}, err
		})},
		{pattern: "GET /api/v1/diff", kind: large, serve: show(func(r *http.Request) (any, error) {
			from, err := number(r, "from", "the number of a generation")
			if err != nil {
				return nil, err
			}
			to, err := number(r, "to", "the number of a generation")
			if err != nil {
				return nil, err
			}
			return d.Diff(from, to)
		})},
		{pattern: "GET /api/v1/rollback", kind: large, serve: show(func(r *http.Request) (any, error) {
			to, err := number(r, "generation", "the number of a generation")
			if err != nil {
				return nil, err
			}
			return d.RollbackPlan(r.Context(), to)
		})},
		{pattern: "GET /api/v1/plan", kind: large, serve: show(func(r *http.Request) (any, error) { return d.Plan(r.Context()) })},
		{pattern: "GET /api/v1/timeline", kind: large, serve: func(w http.ResponseWriter, r *http.Request) {
			last := math.MaxInt
			if r.URL.Query().Has("last") {
				var err error
				if last, err = number(r, "last", "how many events there shall be at most"); err != nil {
					fail(w, code(err), err.Error())
					return
				}
			}
			answerEach(w, r, "events", slices.Values(d.Timeline(last)))
		}},
		{pattern: "GET /api/v1/activity", kind: large, serve: func(w http.ResponseWriter, r *http.Request) {
			answerEach(w, r, "activity", slices.Values(d.Activity()))
		}},
		{pattern: "GET /api/v1/events", kind: small, serve: s.events},

		{pattern: "POST /api/v1/holds/{id}/approve", order: func(r *http.Request, by generation.Signature) (any, error) {
			return done{}, d.Approve(r.Context(), r.PathValue("id"), by)
		}},
		{pattern: "POST /api/v1/freezes", order: func(r *http.Request, by generation.Signature) (any, error) {
			var f FreezeRequest
			if err := read(r, &f); err != nil {
				return nil, err
			}
			return done{}, d.Freeze(r.Context(), f, by)
		}},
		{pattern: "DELETE /api/v1/freezes/{name}", order: func(r *http.Request, by generation.Signature) (any, error) {
			return done{}, d.Unfreeze(r.Context(), r.PathValue("name"), by)
		}},
		{pattern: "POST /api/v1/rollback", order: func(r *http.Request, by generation.Signature) (any, error) {
			var to RollbackRequest
			if err := read(r, &to); err != nil {
				return nil, err
			}
			return d.Rollback(r.Context(), to.Generation, by)
		}},
	}
}

// done is an empty answer.
type done struct{}

// handler returns the handler of everything. trusted is true for the socket.
func (s *Site) handler(trusted bool) http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{} // by path
	for _, r := range s.routes() {
		var serve http.Handler = r.serve
		switch {
		case r.order != nil:
			serve = s.change(r.order, trusted)
		case r.kind == large:
			serve = s.inTurn(serve)
		}
		mux.Handle(r.pattern, serve)
		method, path, _ := strings.Cut(r.pattern, " ")
		methods[path] = append(methods[path], method)
	}
	for path, allowed := range methods {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			fail(w, http.StatusMethodNotAllowed, r.Method+" is not for this path, but "+strings.Join(allowed, ", "))
		})
	}
	if s.parts.Metrics != nil {
		mux.Handle("GET /metrics", s.parts.Metrics)
	}
	if s.parts.Page != nil {
		mux.Handle("/", s.inTurn(s.parts.Page))
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path+": /api/v1/openapi.yaml lists what there is")
	})
	return s.protect(mux, trusted)
}

func (s *Site) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.daemon.Alive(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}

// readiness is the JSON of /readyz.
type readiness struct {
	Ready   bool            `json:"ready"`
	Reasons []reason.Reason `json:"reasons"`
}

func (s *Site) ready(w http.ResponseWriter, r *http.Request) {
	st := s.daemon.Status()
	code := http.StatusOK
	if !st.Ready {
		code = http.StatusServiceUnavailable
	}
	if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
		answer(w, r, code, readiness{st.Ready, st.Reasons})
		return
	}
	text := ready.With()
	if !st.Ready {
		text = notReadyFor.With(reason.Join(st.Reasons...))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text.In(language(r))+"\n")
}

// read decodes the body of a request.
func read(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return As(ErrInvalid, errors.New("the body must be application/json"))
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return As(ErrInvalid, fmt.Errorf("the body: %w", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return As(ErrInvalid, errors.New("the body goes on behind its JSON"))
	}
	return nil
}

// number parses a positive number from the query. what describes it.
func number(r *http.Request, name, what string) (int, error) {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 1 {
		return 0, As(ErrInvalid, fmt.Errorf("%s=%q: allowed is %s", name, r.URL.Query().Get(name), what))
	}
	return n, nil
}
