package caddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// document is a snapshot of Caddy's configuration.
type document struct {
	raw, etag string
	places    []string // paths of objects with our @id
	handle    json.RawMessage
	servers   map[string]server
	admin     admin
}

// server is one of its HTTP servers.
type server struct {
	Listen []string          `json:"listen"`
	Routes []json.RawMessage `json:"routes"`
}

type admin struct {
	Disabled      bool     `json:"disabled"`
	Listen        string   `json:"listen"`
	EnforceOrigin bool     `json:"enforce_origin"`
	Origins       []string `json:"origins"`
}

// read parses a configuration. It accepts anything outside our part.
func read(raw []byte, etag string) (document, error) {
	d := document{raw: string(raw), etag: etag}
	var known struct {
		Admin admin `json:"admin"`
		Apps  struct {
			HTTP struct {
				Servers map[string]server `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		return d, garbled.Err(err)
	}
	d.servers, d.admin = known.Apps.HTTP.Servers, known.Admin
	if !bytes.Contains(raw, []byte(`"@id":"`+placeID+`"`)) {
		return d, nil
	}
	if err := d.find(raw, "/config"); err != nil {
		return d, garbled.Err(err)
	}
	return d, nil
}

// find collects the objects with our @id.
func (d *document) find(raw json.RawMessage, path string) error {
	if !bytes.Contains(raw, []byte(`"`+placeID+`"`)) {
		return nil
	}
	switch first := bytes.TrimLeft(raw, " \t\r\n"); {
	case bytes.HasPrefix(first, []byte("{")):
		var inside map[string]json.RawMessage
		if err := json.Unmarshal(raw, &inside); err != nil {
			return err
		}
		var id string
		if json.Unmarshal(inside["@id"], &id) == nil && id == placeID {
			d.places = append(d.places, path)
			d.handle = inside["handle"]
		}
		for _, key := range sortedKeys(inside) {
			if err := d.find(inside[key], path+"/"+key); err != nil {
				return err
			}
		}
	case bytes.HasPrefix(first, []byte("[")):
		var inside []json.RawMessage
		if err := json.Unmarshal(raw, &inside); err != nil {
			return err
		}
		for i, v := range inside {
			if err := d.find(v, path+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// usable returns what is wrong with our place; nil if there is none, or if it is one route of a list.
func (d *document) usable() error {
	switch {
	case len(d.places) > 1:
		return twoPlaces.Err(strings.Join(d.places, ", "))
	case len(d.places) == 0:
		return nil
	}
	parts := strings.Split(d.places[0], "/")
	n := len(parts)
	if _, err := strconv.Atoi(parts[n-1]); err != nil || n < 3 || parts[n-2] != "routes" {
		return noRoute.Err(d.places[0])
	}
	return nil
}

// pieces returns our routes as Caddy shows them.
func (d *document) pieces() []shown {
	var handlers []struct {
		Routes []json.RawMessage `json:"routes"`
	}
	if json.Unmarshal(d.handle, &handlers) != nil || len(handlers) != 1 {
		return nil
	}
	all := make([]shown, len(handlers[0].Routes))
	for i, raw := range handlers[0].Routes {
		all[i].raw = raw
		_ = json.Unmarshal(raw, &all[i]) // anything else equals none of ours
	}
	return all
}

// shown is one of our routes as Caddy shows it.
type shown struct {
	ID     string `json:"@id"`
	Handle []struct {
		Note json.RawMessage `json:"swallowkeeper"`
	} `json:"handle"`
	raw []byte
}

// note returns the note in the last handler.
func (s shown) note() json.RawMessage {
	if len(s.Handle) == 0 {
		return nil
	}
	return s.Handle[len(s.Handle)-1].Note
}

// push returns the ID of the push that wrote this, or "".
func (s shown) push() string {
	var state struct {
		Push string `json:"push"`
	}
	if s.ID != stateID || json.Unmarshal(s.note(), &state) != nil {
		return ""
	}
	return state.Push
}

// list names servers in an error.
func (d *document) list() string {
	if len(d.servers) == 0 {
		return "none"
	}
	all := make([]string, 0, len(d.servers))
	for _, name := range sortedKeys(d.servers) {
		all = append(all, fmt.Sprintf("%q on %s", name, strings.Join(d.servers[name].Listen, " ")))
	}
	return strings.Join(all, ", ")
}
