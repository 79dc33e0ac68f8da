package status_test

import (
	"errors"
	"strings"
	"testing"

	"swallowkeeper/internal/setting"
	"swallowkeeper/status"
)

func TestConfig(t *testing.T) {
	if err := status.DefaultConfig().Validate(); err != nil {
		t.Errorf("what holds by default: %v", err)
	}
	for _, c := range []struct {
		name   string
		config status.Config
		key    string // "": it is right
	}{
		{"both off", status.Config{}, ""},
		{"all addresses", status.Config{Address: ":9180"}, ""},
		{"an IPv6 address", status.Config{Address: "[::1]:9180"}, ""},
		{"a name", status.Config{Address: "gateway.example:9180"}, ""},
		{"no port", status.Config{Address: "127.0.0.1"}, "address"},
		{"a port that is none", status.Config{Address: "127.0.0.1:http"}, "address"},
		{"a port too far", status.Config{Address: "127.0.0.1:65536"}, "address"},
		{"a relative socket", status.Config{Socket: "s.sock"}, "socket"},
		{"a socket that no kernel takes", status.Config{Socket: "/" + strings.Repeat("x", 108)}, "socket"},
		{"a token", status.Config{Token: secret}, ""},
		{"a short token", status.Config{Token: "short"}, "token"},
		{"a token twice", status.Config{Token: secret, TokenFile: "/etc/token"}, "token_file"},
		{"a relative token file", status.Config{TokenFile: "token"}, "token_file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.config.Validate()
			var wrong *setting.Error
			switch {
			case c.key == "" && err != nil:
				t.Error(err)
			case c.key != "" && (!errors.As(err, &wrong) || wrong.Key != c.key):
				t.Errorf("it says %v", err)
			}
		})
	}
}
