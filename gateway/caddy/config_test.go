package caddy_test

import (
	"strings"
	"testing"

	"swallowkeeper/gateway/caddy"
)

// TestWrongKeys: the error names the key, the value and what is allowed.
func TestWrongKeys(t *testing.T) {
	for _, tt := range []struct {
		change func(*caddy.Config)
		says   []string
	}{
		{func(c *caddy.Config) { c.Address = "127.0.0.1:2019" }, []string{"address", `"http://127.0.0.1:2019"`}},
		{func(c *caddy.Config) { c.Address = "unix:admin.sock" }, []string{"address", `"unix:/run/caddy/admin.sock"`}},
		{func(c *caddy.Config) { c.Server = "a/b" }, []string{"server", `"a/b"`, `"srv0"`}},
		{func(c *caddy.Config) { c.Listen = "80" }, []string{"listen", `"80"`, `":80"`}},
		{func(c *caddy.Config) { c.Mode = "dns" }, []string{"mode", `"dns"`, `"config" or "dynamic"`}},
		{func(c *caddy.Config) { c.Resolver = "localhost:53" }, []string{"resolver", `"localhost:53"`, `"127.0.0.1:5380"`}},
		{func(c *caddy.Config) { c.Resolver = "0.0.0.0:5380" }, []string{"resolver", `"0.0.0.0:5380"`}},
		{func(c *caddy.Config) { c.StreamCloseDelay = -1 }, []string{"stream_close_delay", `"24h"`}},
	} {
		c := caddy.DefaultConfig()
		tt.change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("want an error that says %q", tt.says)
			continue
		}
		for _, says := range tt.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("it says %v, want %q in it", err, says)
			}
		}
	}
}
