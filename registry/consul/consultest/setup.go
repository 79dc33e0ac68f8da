package consultest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// Register does what PUT /v1/catalog/register does, without HTTP. An empty node is the agent's own, and an
// empty address is 127.0.0.1.
func (s *Server) Register(reg api.CatalogRegistration) error {
	if reg.Node == "" {
		// The agent's node is as it is; what is registered there is not the node's to change.
		reg.Node, reg.SkipNodeUpdate = s.opts.NodeName, true
	}
	setDefault(&reg.Address, "127.0.0.1")
	var body registration
	if err := convert(reg, &body); err != nil {
		return fmt.Errorf("register %s: %w", reg.Node, err)
	}
	if err := s.register(body); err != nil {
		return fmt.Errorf("register %s: %w", reg.Node, err)
	}
	return nil
}

// Deregister does what PUT /v1/catalog/deregister does, without HTTP. An empty node is the agent's own.
func (s *Server) Deregister(d api.CatalogDeregistration) error {
	setDefault(&d.Node, s.opts.NodeName)
	var body deregistration
	if err := convert(d, &body); err != nil {
		return fmt.Errorf("deregister on %s: %w", d.Node, err)
	}
	if err := s.deregister(body); err != nil {
		return fmt.Errorf("deregister on %s: %w", d.Node, err)
	}
	return nil
}

// SetCheck sets the status of a check that is there, of whatever kind, and wakes those who watch it. An empty
// node is the agent's own.
func (s *Server) SetCheck(node, checkID, status string) error {
	setDefault(&node, s.opts.NodeName)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.st.node(node)
	if n == nil || n.check(checkID) == nil {
		return fmt.Errorf("set check %q of node %q: there is none", checkID, node)
	}
	rec := *n.check(checkID)
	rec.Status = status
	s.st.putCheck(s.st.begin(), n, n.owners[checkID], rec)
	return nil
}

// convert takes a value of the official client the way that it would take over the wire, so that set-up from
// Go is held to the same rules.
func convert(from, to any) error {
	body, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return decode(bytes.NewReader(body), to)
}
