package status

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"swallowkeeper/internal/setting"
)

// Config is the [status] table: the addresses of the operator's interface.
type Config struct {
	// Address serves the page, the API, metrics and health, host:port. "" disables it.
	Address string `toml:"address"`
	// Socket is the path of a unix socket that serves the same. Anyone who can write to it may also make changes. ""
	// disables it.
	Socket string `toml:"socket"`
	// Token authorizes changes at Address, sent as a bearer token. "" allows no changes there. Such changes are signed
	// "token".
	Token string `toml:"token" secret:"true"`
	// TokenFile is a file with the token, instead of Token. Changes are then signed "token" and the file's name.
	TokenFile string `toml:"token_file"`
	// UpstreamMetrics enables metrics per upstream; their label values come from the registries.
	UpstreamMetrics bool `toml:"upstream_metrics"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Address: "127.0.0.1:9180", Socket: "/run/swallowkeeper/swallowkeeper.sock"}
}

// Validate returns a *setting.Error for the first key with an invalid value.
func (c Config) Validate() error {
	switch {
	case !validAddress(c.Address):
		return &setting.Error{Key: "address", Value: c.Address, Allowed: `host:port, e.g. "127.0.0.1:9180", or "" for none`}
	case c.Socket != "" && (!filepath.IsAbs(c.Socket) || len(c.Socket) > 100):
		return &setting.Error{Key: "socket", Value: c.Socket, Allowed: `an absolute path of at most 100 bytes, or "" for none`}
	case c.Token != "" && c.TokenFile != "":
		return &setting.Error{Key: "token_file", Value: c.TokenFile, Allowed: `"" where token is set`}
	case c.Token != "" && len(c.Token) < 16:
		return &setting.Error{Key: "token", Value: c.Token, Allowed: "at least 16 characters"}
	case c.TokenFile != "" && !filepath.IsAbs(c.TokenFile):
		return &setting.Error{Key: "token_file", Value: c.TokenFile, Allowed: `an absolute path, or "" for none`}
	}
	return nil
}

// CheckToken returns an error if the token file can't be read or has no valid token.
func (c Config) CheckToken() error {
	_, err := readToken(c)
	return err
}

// CheckSocket returns an error if the socket can't be created. It ignores a process that already answers there, which
// may be the daemon. The first result describes the folder.
func (c Config) CheckSocket() (string, error) {
	folder := filepath.Dir(c.Socket)
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		return "its folder is not there yet: systemd's unit makes it, elsewhere make it or set status.socket", nil
	}
	made, err := os.MkdirTemp(folder, ".s-")
	if err == nil {
		err = os.Remove(made)
	}
	if err != nil {
		return "", fmt.Errorf("user %d can't write its folder: %w", os.Geteuid(), err)
	}
	if info, err := os.Lstat(c.Socket); err == nil && info.Mode().Type() != os.ModeSocket {
		return "", fmt.Errorf("%s: it exists and is not a socket: move it away", c.Socket)
	}
	return "its folder may be written", nil
}

func validAddress(address string) bool {
	if address == "" {
		return true
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 0 && n <= 65535
}
