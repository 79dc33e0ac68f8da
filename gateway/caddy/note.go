package caddy

import (
	"encoding/json"
	"fmt"
	"strings"

	"swallowkeeper/internal/nginxconf"
	"swallowkeeper/route"
	"swallowkeeper/upstream"
)

// note is an upstream as it is wanted. Caddy has no word for some of it, so what Caddy shows beside the note proves that it
// does the rest.
type note struct {
	Block  []string `json:"block"`
	Routes []string `json:"routes,omitempty"`
}

func noteOf(u upstream.Upstream) object {
	body := strings.TrimSuffix(string(nginxconf.AppendBody(nil, u)), "\n")
	lines := strings.Split(body, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	n := object{"block": lines}
	if len(u.Routes) > 0 {
		texts := make([]string, len(u.Routes))
		for i, r := range u.Routes {
			r.Origin = ""
			texts[i] = r.Text()
		}
		n["routes"] = texts
	}
	return n
}

// upstreamOf reads a note of the named upstream, and takes nothing that is not valid.
func upstreamOf(name string, raw []byte) (upstream.Upstream, error) {
	var n note
	if err := json.Unmarshal(raw, &n); err != nil {
		return upstream.Upstream{}, err
	}
	options, servers, err := nginxconf.ParseBody([]byte(strings.Join(n.Block, "\n")))
	if err != nil {
		return upstream.Upstream{}, err
	}
	u := upstream.Upstream{Name: name, Options: options, Servers: servers}
	for _, text := range n.Routes {
		r, err := route.ParseText(text, name)
		if err != nil {
			return upstream.Upstream{}, fmt.Errorf("route: %w", err)
		}
		u.Routes = append(u.Routes, r)
	}
	return u, u.Valid()
}
