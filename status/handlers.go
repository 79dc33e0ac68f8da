package status

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

//go:embed openapi.yaml
var openAPI []byte

// route is one path of the API.
type route struct {
	pattern string // as http.ServeMux takes it
	kind    kind
	serve   http.HandlerFunc
}

// kind is how a route is guarded.
type kind int

const (
	small  kind = iota // it is answered at once, whatever else is
	large              // it waits for its turn
	change             // it changes things
)

// routes are all that there are, but for the page's.
func (s *Site) routes() []route {
	d := s.daemon
	return []route{
		{"GET /healthz", small, s.health},
		{"GET /readyz", small, s.ready},
		{"GET /api/v1/openapi.yaml", small, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			_, _ = w.Write(openAPI)
		}},
		{"GET /api/v1/status", large, show(func(*http.Request) (any, error) { return d.Status(), nil })},
		{"GET /api/v1/upstreams", large, func(w http.ResponseWriter, r *http.Request) {
			answerEach(w, r, "upstreams", d.Upstreams())
		}},
		{"GET /api/v1/upstreams/{name}", large, show(func(r *http.Request) (any, error) {
			return d.Explain(r.Context(), r.PathValue("name"))
		})},
		{"GET /api/v1/gateways", large, show(func(*http.Request) (any, error) {
			return map[string]any{"gateways": d.Status().Gateways}, nil
		})},
		{"GET /api/v1/holds", large, show(func(*http.Request) (any, error) {
			return map[string]any{"holds": d.Status().Holds}, nil
		})},
		{"GET /api/v1/history", large, show(func(*http.Request) (any, error) {
			kept, err := d.History()
			return map[string]any{"generations": kept}, err
		})},
		{"GET /api/v1/diff", large, show(func(r *http.Request) (any, error) {
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
		{"GET /api/v1/rollback", large, show(func(r *http.Request) (any, error) {
			to, err := number(r, "generation", "the number of a generation")
			if err != nil {
				return nil, err
			}
			return d.RollbackPlan(r.Context(), to)
		})},
		{"GET /api/v1/plan", large, show(func(r *http.Request) (any, error) { return d.Plan(r.Context()) })},
		{"GET /api/v1/timeline", large, func(w http.ResponseWriter, r *http.Request) {
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
		{"GET /api/v1/events", small, s.events},

		{"POST /api/v1/holds/{id}/approve", change, show(func(r *http.Request) (any, error) {
			return done{}, d.Approve(r.Context(), r.PathValue("id"))
		})},
		{"POST /api/v1/freezes", change, show(func(r *http.Request) (any, error) {
			var f FreezeRequest
			if err := read(r, &f); err != nil {
				return nil, err
			}
			return done{}, d.Freeze(r.Context(), f)
		})},
		{"DELETE /api/v1/freezes/{name}", change, show(func(r *http.Request) (any, error) {
			return done{}, d.Unfreeze(r.Context(), r.PathValue("name"))
		})},
		{"POST /api/v1/rollback", change, show(func(r *http.Request) (any, error) {
			var to RollbackRequest
			if err := read(r, &to); err != nil {
				return nil, err
			}
			return d.Rollback(r.Context(), to.Generation)
		})},
	}
}

// done is the answer where there is nothing to say.
type done struct{}

// handler answers everything. trusted is what comes over the socket.
func (s *Site) handler(trusted bool) http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{} // by path
	for _, r := range s.routes() {
		var serve http.Handler = r.serve
		switch r.kind {
		case large:
			serve = s.inTurn(serve)
		case change:
			serve = s.change(r.serve, trusted)
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
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
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
	text := "ready"
	if !st.Ready {
		text = "not ready: " + strings.Join(st.Reasons, "; ")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}

// show answers with what f returns, or with its error. It leaves time to write either.
func show(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		value, err := f(r.WithContext(ctx))
		if err != nil {
			fail(w, code(err), err.Error())
			return
		}
		answer(w, r, http.StatusOK, value)
	}
}

// answer writes JSON, and compressed where that is understood.
func answer(w http.ResponseWriter, r *http.Request, code int, value any) {
	text, err := json.Marshal(whole(value))
	if err != nil {
		fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	body, end := begin(w, r, code, len(text) >= worthZipping)
	_, _ = body.Write(append(text, '\n'))
	end()
}

// answerEach writes an object with one list, an element at a time: all of it at once may be megabytes.
func answerEach[E any](w http.ResponseWriter, r *http.Request, name string, list iter.Seq[E]) {
	body, end := begin(w, r, http.StatusOK, true)
	_, _ = fmt.Fprintf(body, "{%q:[", name)
	encoder, separator := json.NewEncoder(body), ""
	for e := range list {
		_, _ = io.WriteString(body, separator)
		if encoder.Encode(whole(e)) != nil {
			panic(http.ErrAbortHandler) // the reader has gone
		}
		separator = ","
	}
	_, _ = io.WriteString(body, "]}\n")
	end()
}

// begin writes the head of an answer in JSON. What is written to body is compressed where that
// is understood and worth it; end is for when all is written.
func begin(w http.ResponseWriter, r *http.Request, code int, worth bool) (body io.Writer, end func()) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Add("Vary", "Accept-Encoding")
	if !worth || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.WriteHeader(code)
		return w, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(code)
	z, _ := gzip.NewWriterLevel(w, gzip.StatelessCompression) // it fails only for a level that there is not
	buffered := bufio.NewWriterSize(z, zippedAtOnce)
	return buffered, func() {
		_, _ = buffered.Flush(), z.Close() // what fails has failed because the reader has gone
	}
}

const (
	// worthZipping is from how many bytes on an answer is compressed.
	worthZipping = 2048
	// zippedAtOnce is what is compressed together. The writer remembers nothing beyond it, while that of
	// the standard library has more than a megabyte for each answer.
	zippedAtOnce = 32 << 10
)

// failure is the JSON of every error.
type failure struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure{text})
}

// code is the status of an error.
func code(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
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

// number reads one of the query, from 1 on. what says what it is.
func number(r *http.Request, name, what string) (int, error) {
	n, err := strconv.Atoi(r.URL.Query().Get(name))
	if err != nil || n < 1 {
		return 0, As(ErrInvalid, fmt.Errorf("%s=%q: allowed is %s", name, r.URL.Query().Get(name), what))
	}
	return n, nil
}
