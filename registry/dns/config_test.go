package dns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

// What is wrong in a file, with its line, stands in config/testdata/bad/dns.toml.
func TestValidate(t *testing.T) {
	many := map[string]*Service{}
	for i := range mostNames + 1 {
		many[fmt.Sprint("n", i)] = &Service{Query: "a.example", Record: recordA, Port: 80}
	}
	for key, change := range map[string]func(*Config){
		"":         func(*Config) {},
		"server":   func(c *Config) { c.Server = "ns.example:53" },
		"interval": func(c *Config) { c.Interval = 2 * time.Hour },
		"timeout":  func(c *Config) { c.Timeout = time.Hour },
		"nxdomain": func(c *Config) { c.NXDomain = "" },
		"service":  func(c *Config) { c.Service = many },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		var wrong *setting.Error
		if got := errors.As(err, &wrong); got != (key != "") || got && wrong.Key != key {
			t.Errorf("%q: %v", key, err)
		}
	}
	c := DefaultConfig()
	c.Service = many
	if err := c.Validate(); err == nil || err.Error() != "201 names; allowed is up to 200 in one table; another [[registry]] with a name takes more" {
		t.Errorf("201 names: %v", err)
	}
	c.Service = nil
	if _, err := c.New(registry.Deps{}); err == nil || !strings.HasPrefix(err.Error(), "no name to ask for: DNS can't list") {
		t.Errorf("no name: %v", err)
	}
}

func TestServers(t *testing.T) {
	for server, want := range map[string]string{
		"10.0.0.2": "10.0.0.2:53", "10.0.0.2:8600": "10.0.0.2:8600", "2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]": "[2001:db8::1]:53",
		"[2001:db8::1]:5353": "[2001:db8::1]:5353", "fe80::1%eth0": "[fe80::1%eth0]:53", "10.0.0.2:0": "", "10.0.0.2:x": "", "ns.example": "", "udp://10.0.0.2": "", "10.0.0": "",
	} {
		c := Config{Server: server}
		if got := c.endpoint(); got != want {
			t.Errorf("%s is %q, want %q", server, got, want)
		}
		if name := c.Identity(nil); !registry.ValidName(name) {
			t.Errorf("%s is called %q", server, name)
		}
	}
}

func TestQueries(t *testing.T) {
	long := strings.Repeat("a", 63)
	for query, right := range map[string]bool{
		"app": true, "tasks.app": true, "tasks.app.": true, "_http._tcp.web.example": true, "a_b-c.example": true, "XN--a.example": true,
		strings.Repeat(long+".", 3) + strings.Repeat("a", 61): true,
		"": false, ".": false, "..": false, "a..b": false, "-a.b": false, "a-.b": false, "a b": false, "a;b": false, "a\nb": false, "*.a": false, "a?": false, "10.0.0.1": false,
		"::1": false, long + "a": false, strings.Repeat(long+".", 3) + strings.Repeat("a", 62): false, "münchen.example": false, `a\.b`: false,
	} {
		if got := validQuery(query); (got == "") != right {
			t.Errorf("%q: %q", query, got)
		}
	}
}
