package consul

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"swallowkeeper/internal/consultestserver"
)

// metered counts the bytes that are read.
type metered struct {
	net.Conn
	bytes *atomic.Int64
}

func (c metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

// TestRealAnswersCompressed reads one list from an agent on this machine, and from one that is not: its answers come
// compressed, for there the network is what costs.
func TestRealAnswersCompressed(t *testing.T) {
	server := consultestserver.Start(t)
	client := server.Client(t)
	for i := range 200 {
		registerReal(t, client, registration("n1", fmt.Sprintf("service-%03d", i), fmt.Sprint("w", i), "10.0.0.1", 80, "passing"))
	}
	read := func(address string) int64 {
		var bytes atomic.Int64
		r := newTestRegistry(t, testConfig(address), silent())
		r.endpoint.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := dialer().DialContext(ctx, network, server.Addr)
			return metered{conn, &bytes}, err
		}
		c, err := r.endpoint.client(r.cfg, 1, r.grace)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		list, _, err := c.services(t.Context(), query{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) < 200 {
			t.Fatalf("%s: %d services", address, len(list))
		}
		return bytes.Load()
	}
	here := read(server.Addr)
	if remote := read("consul.example:8500"); remote*2 > here {
		t.Errorf("an agent elsewhere sent %d bytes, the one on this machine %d", remote, here)
	}
	for _, near := range []string{"localhost:8500", "127.0.0.2", "[::1]:8500", "unix:///run/consul.sock"} {
		if r := newTestRegistry(t, testConfig(near), silent()); !r.endpoint.near() {
			t.Errorf("%s is not near", near)
		}
	}
}
