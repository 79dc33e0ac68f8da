package bench

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/hashicorp/consul/api"
)

// startFloor follows one service in the shortest way there is: one blocking query on it, one POST, one GET a worker. It has
// a gateway to itself.
func startFloor(b *testing.B, c *catalog, g *gateway, way string) (stop func()) {
	b.Helper()
	config := api.DefaultNonPooledConfig()
	config.Address = c.address(way)
	config.TLSConfig = api.TLSConfig{CAFile: c.server.CAFile}
	config.Transport.DisableKeepAlives = false
	config.Transport.ForceAttemptHTTP2 = true
	client, err := api.NewClient(config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		index := uint64(0)
		for ctx.Err() == nil {
			entries, meta, err := client.Health().Service(floorHot, "", false, (&api.QueryOptions{WaitIndex: index}).WithContext(ctx))
			if err != nil || len(entries) == 0 {
				continue
			}
			index = meta.LastIndex
			body := fmt.Sprintf("server %s:%d;", entries[0].Service.Address, entries[0].Service.Port)
			if _, _, err := g.interfaces.lines[0].call(http.MethodPost, "api", "/upstream/"+floorHot, body); err != nil {
				continue
			}
			for g.interfaces.all(http.MethodGet, "api", "/upstream/"+floorHot, func(int, string) bool { return true }) < workers {
			}
		}
	}()
	return func() { cancel(); <-ended; config.Transport.CloseIdleConnections() }
}
