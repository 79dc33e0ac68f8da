// Package caddytest is an in-process double of Caddy's admin API for tests. It stores a configuration as Caddy does,
// refuses what Caddy refuses, and passes the same suite. It serves no traffic.
package caddytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// Options say which Caddy it is.
type Options struct {
	// Old is 2.6: the ETag is a trailer, an @id may be there twice, and it knows neither weighted_round_robin nor
	// stream_close_delay.
	Old bool
	// Config is what it is started with, JSON, "" for nothing.
	Config string
	// Origins are the hosts that it takes calls for, none for any of loopback.
	Origins []string
}

// Server is one Caddy. It is for concurrent use.
type Server struct {
	options Options

	mu     sync.Mutex
	config any
	loads  int
}

// New makes one that was started with a configuration. An error says why Caddy would not start.
func New(o Options) (*Server, error) {
	s := &Server{options: o}
	return s, s.Restart()
}

// Restart forgets all that was not in the configuration at the start.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var config any
	if s.options.Config != "" {
		if err := json.Unmarshal([]byte(s.options.Config), &config); err != nil {
			return err
		}
	}
	return s.load(config)
}

// Loads is how often a configuration was loaded, each of which closes connections in a real one.
func (s *Server) Loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// Config is the configuration as it is.
func (s *Server) Config() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(encode(s.config))
}

// failure is an answer that is no success.
type failure struct {
	status int
	err    error
}

func (f *failure) Error() string { return f.err.Error() }

func fail(status int, format string, args ...any) error {
	return &failure{status: status, err: fmt.Errorf(format, args...)}
}

// load runs a configuration, unless Caddy would refuse it.
func (s *Server) load(config any) error {
	index, err := s.index(config)
	if err != nil {
		return fail(http.StatusBadRequest, "indexing config: %v", err)
	}
	_ = index
	if err := s.check(config); err != nil {
		return fmt.Errorf("loading new config: %w", err)
	}
	s.config = config
	s.loads++
	return nil
}

// ServeHTTP answers as the admin API does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.answer(w, r); err != nil {
		status := http.StatusInternalServerError
		var f *failure
		if errors.As(err, &f) {
			status = f.status
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) error {
	if !s.allowed(r.Host) {
		return fail(http.StatusForbidden, "host not allowed: %s", r.Host)
	}
	path := r.URL.Path
	if strings.HasPrefix(path, "/id/") {
		index, err := s.index(s.config)
		if err != nil {
			return err
		}
		id, rest, _ := strings.Cut(strings.TrimPrefix(path, "/id/"), "/")
		at, is := index[id]
		if !is {
			return fail(http.StatusNotFound, "unknown object ID '%s'", id)
		}
		path = at
		if rest != "" {
			path += "/" + rest
		}
	}
	switch {
	case path == "/load" && r.Method == http.MethodPost:
		value, err := body(r)
		if err != nil {
			return err
		}
		return s.load(value)
	case path != "/config" && !strings.HasPrefix(path, "/config/"):
		http.NotFound(w, r)
		return nil
	case r.Method == http.MethodGet:
		return s.show(w, path)
	}
	return s.change(r, path)
}

// allowed is whether a call names a host that is this server's.
func (s *Server) allowed(host string) bool {
	if s.options.Origins == nil {
		name, _, err := net.SplitHostPort(host)
		return host == "" || err == nil && (name == "127.0.0.1" || name == "localhost" || name == "::1")
	}
	for _, o := range s.options.Origins {
		if o == host {
			return true
		}
	}
	return false
}

// show answers with a part of the configuration.
func (s *Server) show(w http.ResponseWriter, path string) error {
	value, err := s.at(path)
	if err != nil {
		return fail(http.StatusBadRequest, "%v", err)
	}
	text := append(encode(value), '\n')
	w.Header().Set("Content-Type", "application/json")
	if s.options.Old {
		w.Header().Set("Trailer", "ETag")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
	}
	if !s.options.Old {
		w.Header().Set("Etag", etag(path, text))
	}
	_, _ = w.Write(text)
	if s.options.Old {
		w.Header().Set("ETag", etag(path, text))
	}
	return nil
}

func etag(path string, text []byte) string {
	return fmt.Sprintf(`"%s %x"`, path, sum(text))
}

func sum(text []byte) []byte {
	h := fnv.New32a()
	_, _ = h.Write(text)
	return h.Sum(nil)
}

// encode writes JSON as Caddy does, with its keys in order.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // it was read from JSON
		return []byte("null")
	}
	return text
}

// body reads what a call sends.
func body(r *http.Request) (any, error) {
	if ct := r.Header.Get("Content-Type"); !strings.Contains(ct, "/json") {
		return nil, fail(http.StatusBadRequest, "unacceptable content-type: %v; 'application/json' required", ct)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fail(http.StatusBadRequest, "reading request body: %v", err)
	}
	var value any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &value); err != nil {
			return nil, fmt.Errorf("decoding request body: %w", err)
		}
	}
	return value, nil
}

// change changes a part of the configuration, or nothing.
func (s *Server) change(r *http.Request, path string) error {
	var value any
	if r.Method != http.MethodDelete {
		var err error
		if value, err = body(r); err != nil {
			return err
		}
	}
	if match := r.Header.Get("If-Match"); match != "" {
		if len(match) < 2 || match[0] != '"' || match[len(match)-1] != '"' {
			return fail(http.StatusBadRequest, "malformed If-Match header; expect quoted string")
		}
		parts := strings.Fields(match[1 : len(match)-1])
		if len(parts) != 2 {
			return fail(http.StatusBadRequest, `malformed If-Match header; expect format "<path> <hash>"`)
		}
		now, err := s.at(parts[0])
		if err != nil {
			return err
		}
		if fmt.Sprintf("%x", sum(append(encode(now), '\n'))) != parts[1] {
			return fail(http.StatusPreconditionFailed, "If-Match header did not match current config hash")
		}
	}
	var copied any
	before := encode(s.config)
	if err := json.Unmarshal(before, &copied); err != nil {
		return err
	}
	root := map[string]any{"config": copied}
	if err := alter(root, r.Method, path, value); err != nil {
		return err
	}
	if bytes.Equal(encode(root["config"]), before) {
		return nil // Caddy does not load what it has
	}
	return s.load(root["config"])
}
