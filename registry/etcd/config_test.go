package etcd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"swallowkeeper/internal/setting"
	"swallowkeeper/registry"
)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		key    string // "" where it is right
		change func(*Config)
	}{
		{"", func(*Config) {}},
		{"", func(c *Config) { c.Address = []string{"10.0.0.5:2379", "http://[::1]:2379/"} }},
		{"", func(c *Config) { c.Address = []string{"https://etcd.example:2379"} }},
		{"address", func(c *Config) { c.Address = nil }},
		{"address", func(c *Config) { c.Address = []string{""} }},
		{"address", func(c *Config) { c.Address = []string{"127.0.0.1"} }},
		{"address", func(c *Config) { c.Address = []string{"ftp://127.0.0.1:2379"} }},
		{"address", func(c *Config) { c.Address = []string{"http://127.0.0.1:0"} }},
		{"address", func(c *Config) { c.Address = []string{"http://u:p4ss@127.0.0.1:2379"} }},
		{"address", func(c *Config) { c.Address = []string{"http://127.0.0.1:2379/v3"} }},
		{"address", func(c *Config) { c.Address = []string{"http://127.0.0.1:2379", "https://127.0.0.1:2379"} }},
		{"layout", func(c *Config) { c.Layout = "traefik" }},
		{"prefix", func(c *Config) { c.Prefix = "/a//b" }},
		{"prefix", func(c *Config) { c.Prefix = "/" }},
		{"prefix", func(c *Config) { c.Prefix = "/a b" }},
		{"prefix", func(c *Config) { c.Layout = "registrator" }},
		{"", func(c *Config) { c.Layout, c.Prefix = "registrator", "services" }},
		{"default_route", func(c *Config) { c.DefaultRoute = "/{name};/*" }},
		{"default_route", func(c *Config) { c.DefaultRoute = "/*" }},
		{"", func(c *Config) { c.DefaultRoute = "shop.example/{name}/* strip" }},
		{"include", func(c *Config) { c.Include = []string{"["} }},
		{"exclude", func(c *Config) { c.Exclude = []string{""} }},
		{"resync", func(c *Config) { c.Resync = time.Millisecond }},
	} {
		c := DefaultConfig()
		test.change(&c)
		err := c.Validate()
		var wrong *setting.Error
		if errors.As(err, &wrong); test.key == "" && err != nil || test.key != "" && (wrong == nil || wrong.Key != test.key) {
			t.Errorf("%+v: %v, want %q", c, err, test.key)
		}
		if err != nil && strings.Contains(err.Error(), "p4ss") {
			t.Errorf("a password is shown: %v", err)
		}
		if name := c.Identity(nil); err == nil && !registry.ValidName(name) {
			t.Errorf("its name is %q", name)
		}
	}
}

func TestKeysThatNeedOneAnother(t *testing.T) {
	secure := func(c *Config) { c.Address = []string{"https://127.0.0.1:2379"} }
	for _, test := range []struct {
		key    string
		change func(*Config)
	}{
		{"username", func(c *Config) { c.PasswordFile = "/p" }},
		{"password_file", func(c *Config) { c.Username = "sk" }},
		{"ca", func(c *Config) { c.CA = "/ca" }},
		{"cert", func(c *Config) { c.Cert, c.Key = "/c", "/k" }},
		{"key", func(c *Config) { secure(c); c.Cert = "/c" }},
		{"cert", func(c *Config) { secure(c); c.Key = "/k" }},
		{"", func(c *Config) {
			secure(c)
			c.Cert, c.Key, c.CA, c.Username, c.PasswordFile = "/c", "/k", "/ca", "sk", "/p"
		}},
	} {
		c := DefaultConfig()
		test.change(&c)
		_, err := c.New(registry.Deps{})
		var wrong *setting.Error
		if errors.As(err, &wrong); test.key == "" && err != nil || test.key != "" && (wrong == nil || wrong.Key != test.key) {
			t.Errorf("%+v: %v, want %q", c, err, test.key)
		}
	}
}

func TestIdentity(t *testing.T) {
	for want, c := range map[string]Config{
		"etcd@127.0.0.1:2379/swallowkeeper": DefaultConfig(),
		"etcd@[::1]:2379/chipmunks":         {Address: []string{"https://[::1]:2379", "https://10.0.0.1:2379"}, Layout: "chipmunks"},
		"etcd@h:1/a/b_c":                    {Address: []string{"h:1"}, Layout: "endpoints", Prefix: "a/b$$c/"},
	} {
		if got := c.Identity(nil); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
