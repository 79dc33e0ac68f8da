package caddytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// check refuses what Caddy refuses when it loads a configuration, as far as it knows the modules. Caddy takes nonsense that
// it does not look at: an address to dial, and weights of another number than servers.
func (s *Server) check(config any) error {
	if config == nil {
		return nil
	}
	var c struct {
		Admin, Logging, Storage json.RawMessage
		Apps                    map[string]json.RawMessage
	}
	if err := strict(encode(config), &c); err != nil {
		return err
	}
	for name, raw := range c.Apps {
		if name != "http" {
			return fmt.Errorf("loading app modules: module name '%s': unknown module: %s", name, name)
		}
		if err := s.app(raw); err != nil {
			return fmt.Errorf("loading http app module: provision http: %w", err)
		}
	}
	return nil
}

func (s *Server) app(raw json.RawMessage) error {
	var app struct {
		HTTPPort    int `json:"http_port"`
		HTTPSPort   int `json:"https_port"`
		GracePeriod any `json:"grace_period"`
		Servers     map[string]struct {
			Listen         []string
			Routes         []json.RawMessage
			AutomaticHTTPS json.RawMessage `json:"automatic_https"`
			Logs, Errors   json.RawMessage
			IdleTimeout    any `json:"idle_timeout"`
		}
	}
	if err := strict(raw, &app); err != nil {
		return err
	}
	for name, server := range app.Servers {
		for i, r := range server.Routes {
			if err := s.route(r); err != nil {
				return fmt.Errorf("server %s: setting up route handlers: route %d: %w", name, i, err)
			}
		}
	}
	return nil
}

func (s *Server) route(raw json.RawMessage) error {
	var r struct {
		Group    string
		Match    []map[string]json.RawMessage
		Handle   []json.RawMessage
		Terminal bool
	}
	if err := strict(raw, &r); err != nil {
		return err
	}
	for _, set := range r.Match {
		if err := s.matchers(set); err != nil {
			return fmt.Errorf("loading matcher modules: %w", err)
		}
	}
	for i, h := range r.Handle {
		if err := s.handler(h); err != nil {
			return fmt.Errorf("loading handler modules: position %d: %w", i, err)
		}
	}
	return nil
}

type expression struct{ Name, Pattern string }

func (s *Server) matchers(set map[string]json.RawMessage) error {
	for name, raw := range set {
		var err error
		switch name {
		case "host", "method", "path":
			err = strict(raw, new([]string))
		case "vars", "header":
			err = strict(raw, new(map[string][]string))
		case "path_regexp":
			var e expression
			if err = strict(raw, &e); err == nil {
				_, err = regexp.Compile(e.Pattern)
			}
		case "header_regexp", "vars_regexp":
			var all map[string]expression
			err = strict(raw, &all)
			for _, e := range all {
				if _, bad := regexp.Compile(e.Pattern); bad != nil {
					err = bad
				}
			}
		case "not":
			var sets []map[string]json.RawMessage
			err = strict(raw, &sets)
			for _, set := range sets {
				if bad := s.matchers(set); bad != nil {
					err = bad
				}
			}
		default:
			return fmt.Errorf("module name '%s': unknown module: http.matchers.%s", name, name)
		}
		if err != nil {
			return fmt.Errorf("module name '%s': %w", name, err)
		}
	}
	return nil
}

func (s *Server) handler(raw json.RawMessage) error {
	var which struct{ Handler string }
	if err := json.Unmarshal(raw, &which); err != nil {
		return err
	}
	var err error
	switch which.Handler {
	case "":
		return fmt.Errorf("module name not specified with key 'handler' in %v", string(raw))
	case "vars":
	case "static_response":
		var h struct {
			Handler    string
			StatusCode any `json:"status_code"`
			Body       string
			Headers    map[string][]string
			Close      bool
		}
		err = strict(raw, &h)
	case "rewrite":
		var h struct {
			Handler, Method, URI string
			StripPathPrefix      string                           `json:"strip_path_prefix"`
			PathRegexp           []struct{ Find, Replace string } `json:"path_regexp"`
		}
		err = strict(raw, &h)
	case "headers":
		var h struct {
			Handler           string
			Request, Response operations
		}
		err = strict(raw, &h)
	case "subroute":
		var h struct {
			Handler string
			Routes  []json.RawMessage
		}
		if err = strict(raw, &h); err == nil {
			for i, r := range h.Routes {
				if bad := s.route(r); bad != nil {
					err = fmt.Errorf("provision http.handlers.subroute: setting up subroutes: route %d: %w", i, bad)
					break
				}
			}
		}
	case "reverse_proxy":
		err = s.proxy(raw)
	default:
		return fmt.Errorf("unknown module: http.handlers.%s", which.Handler)
	}
	if err != nil {
		return fmt.Errorf("loading module '%s': %w", which.Handler, err)
	}
	return nil
}

type operations struct {
	Add, Set map[string][]string
	Delete   []string
}

// duration is a number of nanoseconds or a text such as 5s.
type duration struct{}

func (duration) UnmarshalJSON(b []byte) error {
	if text, err := strconv.Unquote(string(b)); err == nil {
		_, err = time.ParseDuration(text)
		return err
	}
	_, err := strconv.ParseInt(string(b), 10, 64)
	return err
}

func (s *Server) proxy(raw json.RawMessage) error {
	var h struct {
		Handler   string
		Transport json.RawMessage
		Upstreams []struct {
			Dial        string
			MaxRequests int `json:"max_requests"`
		}
		DynamicUpstreams json.RawMessage `json:"dynamic_upstreams"`
		LoadBalancing    *struct {
			SelectionPolicy json.RawMessage `json:"selection_policy"`
			Retries         int
			TryDuration     duration `json:"try_duration"`
			TryInterval     duration `json:"try_interval"`
		} `json:"load_balancing"`
		HealthChecks *struct {
			Passive *struct {
				MaxFails              int      `json:"max_fails"`
				FailDuration          duration `json:"fail_duration"`
				UnhealthyRequestCount int      `json:"unhealthy_request_count"`
			}
		} `json:"health_checks"`
		Headers          *struct{ Request, Response operations }
		Rewrite          *struct{ Method, URI string }
		HandleResponse   []json.RawMessage `json:"handle_response"`
		StreamCloseDelay *duration         `json:"stream_close_delay"`
	}
	if err := strict(raw, &h); err != nil {
		return err
	}
	if h.StreamCloseDelay != nil && s.options.Old {
		return unknownField("stream_close_delay")
	}
	if h.Transport != nil {
		if err := transport(h.Transport); err != nil {
			return fmt.Errorf("provision http.handlers.reverse_proxy: loading transport: %w", err)
		}
	}
	if h.LoadBalancing != nil && h.LoadBalancing.SelectionPolicy != nil {
		if err := s.policy(h.LoadBalancing.SelectionPolicy); err != nil {
			return fmt.Errorf("provision http.handlers.reverse_proxy: loading load balancing selection policy: %w", err)
		}
	}
	if h.DynamicUpstreams != nil {
		if err := dynamic(h.DynamicUpstreams); err != nil {
			return fmt.Errorf("provision http.handlers.reverse_proxy: loading upstream source module: %w", err)
		}
	}
	for _, raw := range h.HandleResponse {
		var response struct {
			Match  *struct{ StatusCode []int }
			Routes []json.RawMessage
		}
		raw = bytes.ReplaceAll(raw, []byte(`"status_code":[`), []byte(`"statuscode":[`))
		if err := strict(raw, &response); err != nil {
			return err
		}
		for _, r := range response.Routes {
			if err := s.route(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func transport(raw json.RawMessage) error {
	var t struct {
		Protocol  string
		KeepAlive *struct {
			Enabled             *bool
			MaxIdleConns        int `json:"max_idle_conns"`
			MaxIdleConnsPerHost int `json:"max_idle_conns_per_host"`
		} `json:"keep_alive"`
		DialTimeout           duration `json:"dial_timeout"`
		ReadTimeout           duration `json:"read_timeout"`
		WriteTimeout          duration `json:"write_timeout"`
		ResponseHeaderTimeout duration `json:"response_header_timeout"`
	}
	if err := strict(raw, &t); err != nil {
		return err
	}
	if t.Protocol != "http" {
		return fmt.Errorf("unknown module: http.reverse_proxy.transport.%s", t.Protocol)
	}
	return nil
}

func (s *Server) policy(raw json.RawMessage) error {
	var p struct {
		Policy  string
		Weights []int
		Choose  int
	}
	if err := strict(raw, &p); err != nil {
		return err
	}
	switch p.Policy {
	case "round_robin", "random", "least_conn", "ip_hash", "first":
		return nil
	case "weighted_round_robin":
		if !s.options.Old {
			return nil
		}
	}
	return fmt.Errorf("unknown module: http.reverse_proxy.selection_policies.%s", p.Policy)
}

func dynamic(raw json.RawMessage) error {
	var d struct {
		Source, Name, Port   string
		Refresh, DialTimeout duration
		Resolver             *struct{ Addresses []string }
		Versions             *struct{ IPv4, IPv6 *bool }
	}
	raw = bytes.ReplaceAll(raw, []byte(`"dial_timeout"`), []byte(`"dialtimeout"`))
	if err := strict(raw, &d); err != nil {
		return err
	}
	if d.Source != "a" && d.Source != "srv" {
		return fmt.Errorf("unknown module: http.reverse_proxy.upstreams.%s", d.Source)
	}
	return nil
}

func unknownField(name string) error { return fmt.Errorf("json: unknown field %q", name) }

// strict reads JSON, and takes no key that is not known but @id.
func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(withoutID(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decoding module config: %w", err)
	}
	return nil
}

var id = regexp.MustCompile(`(?:,\s*"@id"\s*:\s*"[^"]*")|(?:"@id"\s*:\s*"[^"]*"\s*,?)`)

// withoutID takes out each @id, as Caddy does before it decodes.
func withoutID(raw []byte) []byte {
	if !strings.Contains(string(raw), `"@id"`) {
		return raw
	}
	return id.ReplaceAll(raw, nil)
}
