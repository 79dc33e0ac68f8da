package consultestserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// askLimit bounds one question, and bodyLimit its answer.
const (
	askLimit  = 2 * time.Second
	bodyLimit = 1 << 20
)

// leads returns nil once Consul answers a consistent read, which it does only when its leader has
// taken up its work, and once this very server is in the catalog.
func (s *Server) leads(ctx context.Context) error {
	_, err := s.askNodes(ctx, "consistent")
	return err
}

// answersStaleOnly returns nil once Consul serves its state and says that it knows no leader.
func (s *Server) answersStaleOnly(ctx context.Context) error {
	header, err := s.askNodes(ctx, "stale")
	if err != nil {
		return err
	}
	if known := header.Get("X-Consul-KnownLeader"); known != "false" {
		return fmt.Errorf("consul still knows a leader: %q", known)
	}
	return nil
}

// hasVoters returns nil once the cluster has n servers that vote.
func (s *Server) hasVoters(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		var raft struct{ Servers []struct{ Voter bool } }
		if _, err := s.ask(ctx, "/v1/operator/raft/configuration", &raft); err != nil {
			return err
		}
		got := 0
		for _, server := range raft.Servers {
			if server.Voter {
				got++
			}
		}
		if got != n {
			return fmt.Errorf("consul has %d voters, not %d", got, n)
		}
		return nil
	}
}

// askNodes reads the catalog's nodes and fails where this server's own is missing: it may not be
// registered yet, or another Consul may have the port.
func (s *Server) askNodes(ctx context.Context, consistency string) (http.Header, error) {
	type node struct{ ID string }
	var nodes []node
	header, err := s.ask(ctx, "/v1/catalog/nodes?"+consistency, &nodes)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(nodes, node{ID: s.nodeID}) {
		return nil, errors.New("consul's own node is not in its catalog")
	}
	return header, nil
}

// ask decodes the answer to one GET.
func (s *Server) ask(ctx context.Context, path string, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask Consul for %s: %w", path, err)
	}
	request.Header.Set("X-Consul-Token", s.Token)
	// A connection of its own each time: none stays that a test might count or find leaked.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask Consul for %s: %w", path, err)
	}
	defer response.Body.Close() // only read
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return nil, fmt.Errorf("read Consul's answer to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask Consul for %s: %s: %.200q", path, response.Status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("decode Consul's answer to %s: %w", path, err)
	}
	return response.Header, nil
}
