package consultestserver

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// object is JSON, as in Consul's documentation of its agent's configuration.
type object map[string]any

// writeConfig writes the configuration folder. Consul reads it in order of the files' names, and
// what comes later wins.
func (s *Server) writeConfig() error {
	base, err := json.MarshalIndent(s.config(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode Consul's configuration: %w", err)
	}
	if err := os.MkdirAll(s.configDir(), 0o700); err != nil {
		return fmt.Errorf("make Consul's configuration folder: %w", err)
	}
	// HCL's parser reads JSON too, so one file ending does for both.
	for i, text := range append([]string{string(base)}, s.extra...) {
		name := filepath.Join(s.configDir(), fmt.Sprintf("%02d.hcl", i))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write Consul's configuration: %w", err)
		}
	}
	return nil
}

// serverNode is the name of the server that a test starts.
const serverNode = "consul-test"

// config is a server with a state on disk: -dev keeps none, so it could not restart.
func (s *Server) config() object {
	const off = -1
	ports := object{
		"http": s.ports.http, "https": off, "server": s.ports.server, "serf_lan": s.ports.serf,
		"serf_wan": off, "dns": off, "grpc": off, "grpc_tls": off,
	}
	config := object{
		"server":           true,
		"bootstrap_expect": 1,
		"node_name":        serverNode,
		"node_id":          s.nodeID,
		"data_dir":         s.dataDir(),
		"bind_addr":        "127.0.0.1",
		"client_addr":      "127.0.0.1",
		"ports":            ports,
		"performance":      object{"raft_multiplier": 1},
		// A server that joins gets its vote at the next look, not after ten seconds of good health.
		"autopilot": object{"server_stabilization_time": "1ms"},
		"connect":   object{"enabled": false},
		"peering":   object{"enabled": false},
		// The default log store sets 64 MB aside at each start.
		"raft_logstore": object{"backend": "boltdb"},
		// Otherwise it asks its maker for news: tests stay on loopback.
		"disable_update_check": true,
	}
	if s.join != nil {
		delete(config, "bootstrap_expect")
		config["node_name"] = "consul-test-other"
		config["retry_join"] = []string{loopback(s.join.ports.serf)}
		config["retry_interval"] = "100ms"
	}
	if s.node != "" {
		config["server"], config["node_name"] = false, s.node
	}
	if s.Token != "" {
		config["acl"] = object{
			"enabled":        true,
			"default_policy": "deny",
			"tokens":         object{"initial_management": s.Token, "agent": s.Token},
		}
	}
	if s.HTTPSAddr != "" {
		ports["https"] = s.ports.https
		config["tls"] = object{"https": object{"cert_file": s.certFile(), "key_file": s.keyFile()}}
	}
	return config
}

// standAlone tells a stopped Consul that it is alone in its cluster, by the way that is meant for
// recovery after an outage: it takes the file at its next start and deletes it.
func (s *Server) standAlone() error {
	self := object{"id": s.nodeID, "address": loopback(s.ports.server)}
	text, err := json.Marshal([]object{self})
	if err != nil {
		return fmt.Errorf("encode Consul's peers: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.dataDir(), "raft", "peers.json"), text, 0o600); err != nil {
		return fmt.Errorf("write Consul's peers: %w", err)
	}
	return nil
}

// newUUID returns a random UUID, the form that Consul asks of node identifiers and tokens.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // it never returns an error
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
