// Package record writes and reads what the guard was told, decision by decision, so that it can be replayed with
// other limits. A record is lines of JSON, each with what has changed since the one before and now and then with
// all of it. It knows no disk: package persist keeps the lines in files, and says when there is a whole one.
//
// A record holds names of upstreams, addresses, options of servers and names of registries. What registries say in
// words (reasons, outputs of checks, names of nodes) is not in it.
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
	"swallowkeeper/upstream"
)

// version of the format. Additions that older readers may leave out do not change it.
const version = 1

// line is one line of a record. Three kinds of lines have a meaning of their own:
//
//	{"time":T,"begin":{…},…}   what was true before the decision that the next line has
//	{"time":T,…}               a decision: what the guard was told otherwise than before, and what led it to
//	{"time":T,"calm":true}     the daemon was at work and had nothing to decide
//
// A map has what has changed, by its key; null is what is not there any more. What is missing is as before.
type line struct {
	Time  time.Time `json:"time"`
	Begin *begin    `json:"begin,omitempty"`
	// Seen is what the registries list, and Unhealthy what they list as not usable, both by upstream.
	Seen      map[string]*block   `json:"seen,omitempty"`
	Unhealthy map[string][]string `json:"unhealthy,omitempty"`
	// Written is, by upstream, what stands in the conf file otherwise than it is seen: after the decision, or
	// before it in a line that begins. null is that it stands there as it is seen.
	Written map[string]*written `json:"written,omitempty"`
	// Empty, Away and Indexes are of registries, as package guard is told. They are whole where they are there.
	Empty   *[]string             `json:"empty,omitempty"`
	Away    *map[string]time.Time `json:"away,omitempty"`
	Indexes *map[string]uint64    `json:"indexes,omitempty"`
	// Witness is what addresses did that were tried: "answered" or "refused".
	Witness map[string]*string `json:"witness,omitempty"`
	// Here are addresses of the machine itself, whole where it is there.
	Here     *[]string `json:"here,omitempty"`
	Approved string    `json:"approved,omitempty"`
	Waiting  bool      `json:"waiting,omitempty"`
	Unsaved  bool      `json:"unsaved,omitempty"`
	Calm     bool      `json:"calm,omitempty"`
}

// begin says what a decision begins with. Whole says that nothing of the lines before counts.
type begin struct {
	Version int      `json:"version"`
	Whole   bool     `json:"whole,omitempty"`
	Began   bool     `json:"began,omitempty"`
	Fresh   bool     `json:"fresh,omitempty"`
	Limits  string   `json:"limits"`            // as in the [guard] table of a configuration
	Account []string `json:"account,omitempty"` // as in the conf file's header
}

// block is an upstream.
type block struct {
	Name      string  `json:"name,omitempty"` // where it is not the key: the letters' case may differ
	Canary    string  `json:"canary,omitempty"`
	Method    string  `json:"method,omitempty"`
	Keepalive int     `json:"keepalive,omitempty"`
	Servers   []group `json:"servers,omitempty"`
}

// group is servers that differ in their addresses alone.
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

// written is an upstream as it stands in the conf file; with Out it is not there, though it is seen.
type written struct {
	block
	Out bool `json:"out,omitempty"`
}

func toBlock(u upstream.Upstream) block {
	b := block{Name: u.Name, Canary: u.Canary, Method: u.Options.Method, Keepalive: u.Options.Keepalive}
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

// upstream checks a block strictly: a record may come from anywhere.
func (b *block) upstream() (upstream.Upstream, error) {
	u := upstream.Upstream{
		Name: b.Name, Canary: b.Canary, Options: upstream.Options{Method: b.Method, Keepalive: b.Keepalive},
	}
	if err := upstream.ValidName(u.Name); err != nil {
		return u, fmt.Errorf("upstream %q: %w", u.Name, err)
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

var answers = map[guard.Answer]string{guard.Answered: "answered", guard.Refused: "refused"}

func parseAnswer(text string) (guard.Answer, error) {
	for a, word := range answers {
		if word == text {
			return a, nil
		}
	}
	return guard.Untried, fmt.Errorf(`a witness says "answered" or "refused", not %q`, text)
}

func encodeLimits(c guard.Config) (string, error) {
	text, err := toml.Marshal(c)
	return string(text), err
}

// decodeLimits takes keys that it does not know for those of a newer version, and what is missing for the default.
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
