// Package record encodes and decodes the guard's inputs, decision by decision, so that they can be replayed with other
// limits. A record is lines of JSON, each with the changes since the previous one; now and then a line has the complete
// state. This package does no I/O on files: package persist stores the lines, and decides when to write a complete
// state.
//
// A record holds names of upstreams, addresses, server options and names of registries. It does not hold text from
// registries (reasons, check output, node names).
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/BurntSushi/toml"

	"swallowkeeper/guard"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// version is the version of the format. Additions that older readers can ignore do not change it.
const version = 1

// line is one line of a record. There are three kinds:
//
//	{"time":T,"begin":{…},…}   what was true before the decision that the next line has
//	{"time":T,…}               a decision: what the guard was told otherwise than before, and what led it to
//	{"time":T,"calm":true}     the daemon was at work and had nothing to decide
//
// A map has the changed entries; null removes one. A missing field means no change.
type line struct {
	Time  time.Time `json:"time"`
	Begin *begin    `json:"begin,omitempty"`
	// Seen is what the registries list, and Unhealthy what they list as unusable, by upstream.
	Seen      map[string]*block   `json:"seen,omitempty"`
	Unhealthy map[string][]string `json:"unhealthy,omitempty"`
	// Written is, by upstream, what the conf file has that differs from what is seen: after the decision, or before it
	// in a begin line. null means that they no longer differ.
	Written map[string]*written `json:"written,omitempty"`
	// Frozen counts upstreams that do not follow the registries. Behind has what the registries list of a frozen
	// upstream if that differs from what is seen; null means that it no longer does.
	Frozen *int                `json:"frozen,omitempty"`
	Behind map[string]*written `json:"behind,omitempty"`
	// Empty, Away and Indexes are about registries, as in the guard's input. If present, they are complete.
	Empty   *[]string             `json:"empty,omitempty"`
	Away    *map[string]time.Time `json:"away,omitempty"`
	Indexes *map[string]uint64    `json:"indexes,omitempty"`
	// Witness has the result for each address that was tried: "answered", "refused" or "unproven".
	Witness map[string]*string `json:"witness,omitempty"`
	// Here lists the machine's own addresses. If present, it is complete.
	Here     *[]string `json:"here,omitempty"`
	Approved string    `json:"approved,omitempty"`
	Waiting  bool      `json:"waiting,omitempty"`
	Unsaved  bool      `json:"unsaved,omitempty"`
	Calm     bool      `json:"calm,omitempty"`
}

// begin is the state before a decision. Whole means that it is complete, and no earlier line counts.
type begin struct {
	Version int      `json:"version"`
	Whole   bool     `json:"whole,omitempty"`
	Began   bool     `json:"began,omitempty"`
	Fresh   bool     `json:"fresh,omitempty"`
	Limits  string   `json:"limits"`            // the [guard] table of a configuration
	Account []string `json:"account,omitempty"` // as in the conf file's header
}

// block is an upstream.
type block struct {
	Name      string  `json:"name,omitempty"` // if it differs from the key in case
	Canary    string  `json:"canary,omitempty"`
	Method    string  `json:"method,omitempty"`
	Keepalive int     `json:"keepalive,omitempty"`
	Servers   []group `json:"servers,omitempty"`
	// Routes are in the conf file's syntax.
	Routes []string `json:"routes,omitempty"`
}

// group is a run of servers that differ only in their addresses.
type group struct {
	Addrs       []string `json:"addrs"`
	Weight      int      `json:"weight"`
	MaxConns    int      `json:"max_conns,omitempty"`
	MaxFails    int      `json:"max_fails"`
	FailTimeout string   `json:"fail_timeout"`
	Backup      bool     `json:"backup,omitempty"`
	Down        bool     `json:"down,omitempty"`
	Origin      string   `json:"origin,omitempty"`
	Host        string   `json:"host,omitempty"`
}

// written is an upstream as in the conf file, or behind a freeze. Out means that it is seen but not written.
type written struct {
	block
	Out bool `json:"out,omitempty"`
}

func toBlock(u upstream.Upstream) block {
	b := block{Name: u.Name, Canary: u.Canary, Method: u.Options.Method, Keepalive: u.Options.Keepalive}
	for _, r := range u.Routes {
		b.Routes = append(b.Routes, r.Text())
	}
	for i, s := range u.Servers {
		if i > 0 {
			like := u.Servers[i-1]
			like.Addr = s.Addr
			if like == s {
				last := &b.Servers[len(b.Servers)-1]
				last.Addrs = append(last.Addrs, s.Addr.String())
				continue
			}
		}
		b.Servers = append(b.Servers, group{
			Addrs: []string{s.Addr.String()}, Weight: s.Weight, MaxConns: s.MaxConns, MaxFails: s.MaxFails,
			FailTimeout: s.FailTimeout.String(), Backup: s.Backup, Down: s.Down, Origin: s.Origin, Host: s.Host,
		})
	}
	return b
}

// upstream validates and converts a block. It is strict, because a record may come from anywhere.
func (b *block) upstream() (upstream.Upstream, error) {
	u := upstream.Upstream{
		Name: b.Name, Canary: b.Canary, Options: upstream.Options{Method: b.Method, Keepalive: b.Keepalive},
	}
	if err := upstream.ValidName(u.Name); err != nil {
		return u, fmt.Errorf("upstream %q: %w", u.Name, err)
	}
	for _, text := range b.Routes {
		r, err := route.ParseText(text, u.Name)
		if err != nil {
			return u, fmt.Errorf("upstream %s: route %q: %w", u.Name, text, err)
		}
		u.Routes = append(u.Routes, r)
	}
	for _, g := range b.Servers {
		timeout, err := time.ParseDuration(g.FailTimeout)
		if err != nil {
			return u, fmt.Errorf("upstream %s: fail_timeout %q is no duration", u.Name, g.FailTimeout)
		}
		for _, text := range g.Addrs {
			s := upstream.Server{
				Weight: g.Weight, MaxConns: g.MaxConns, MaxFails: g.MaxFails, FailTimeout: timeout,
				Backup: g.Backup, Down: g.Down, Origin: g.Origin, Host: g.Host,
			}
			if s.Addr, err = netip.ParseAddrPort(text); err != nil {
				return u, fmt.Errorf("upstream %s: %q is no address", u.Name, text)
			}
			if err := s.Valid(); err != nil {
				return u, fmt.Errorf("upstream %s: server %s: %w", u.Name, text, err)
			}
			u.Servers = append(u.Servers, s)
		}
	}
	return u, nil
}

var answers = map[guard.Answer]string{guard.Answered: "answered", guard.Refused: "refused", guard.Unproven: "unproven"}

func parseAnswer(text string) (guard.Answer, error) {
	for a, word := range answers {
		if word == text {
			return a, nil
		}
	}
	return guard.Untried, fmt.Errorf(`a witness says "answered", "refused" or "unproven", not %q`, text)
}

func encodeLimits(c guard.Config) (string, error) {
	text, err := toml.Marshal(c)
	return string(text), err
}

// decodeLimits ignores unknown keys, which may come from a newer version. Missing keys get their defaults.
func decodeLimits(text string) (guard.Config, error) {
	c := guard.DefaultConfig()
	if _, err := toml.Decode(text, &c); err != nil {
		return c, fmt.Errorf("the limits: %w", err)
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("the limits: %w", err)
	}
	return c, nil
}

func encodeLine(l *line) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func decodeLine(text []byte) (*line, error) {
	l := new(line)
	if err := json.Unmarshal(text, l); err != nil {
		return nil, err
	}
	if l.Time.IsZero() {
		return nil, errors.New("it has no time")
	}
	l.Time = l.Time.UTC()
	if l.Begin != nil && l.Begin.Version != version {
		return nil, fmt.Errorf("it is of version %d of the format; this program reads version %d", l.Begin.Version, version)
	}
	return l, nil
}
