// Package lua provides the dyups API on a stock nginx with its Lua module, such as Debian's libnginx-mod-http-lua or
// OpenResty. The library is written in Lua, in the folder files. This package embeds it in the binary and installs it,
// without overwriting files that somebody has changed. It does not talk to nginx.
package lua

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

//go:embed files
var files embed.FS

// The two files for nginx.conf to include.
const (
	HTTPInclude     = "dyups.conf"
	LocationInclude = "proxy.conf"
)

// Config is the configuration of the files.
type Config struct {
	// Dir is the folder to install to.
	Dir string
	// Listen is the address of the API: unix:/path, or a loopback address with a port.
	Listen string
	// Upstreams is the conf file to read when nginx starts, "" for none.
	Upstreams string
	// Dict is the size of the shared memory, such as 16m.
	Dict string
}

// socketDir is the folder for the API's socket, which the packages and make install create at each boot. nginx does not
// start if it is missing.
const socketDir = "/run/dyups"

// DefaultListen returns a socket in the folder with limited access if that exists, otherwise a loopback address.
func DefaultListen() string { return listenIn(socketDir) }

func listenIn(dir string) string {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return "unix:" + dir + "/dyups.sock"
	}
	return "127.0.0.1:18882"
}

// DefaultConfig puts the conf file where nginx does not include it, as the library reads it: nginx does not start with
// duplicate upstreams.
func DefaultConfig() Config {
	return Config{
		Dir:       "/etc/nginx/dyups",
		Listen:    DefaultListen(),
		Upstreams: "/var/lib/swallowkeeper/dyups.upstream.conf",
		Dict:      "16m",
	}
}

var (
	plainPath = regexp.MustCompile(`^/[A-Za-z0-9_./@:+=,-]*$`) // without characters that are special to nginx or Lua
	dictSize  = regexp.MustCompile(`^[1-9][0-9]{0,8}[kKmM]$`)
)

// Validate returns what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	const allowed = "an absolute path of letters, digits and _./@:+=,-"
	switch {
	case !plainPath.MatchString(c.Dir):
		return fmt.Errorf("folder %q: allowed is %s", c.Dir, allowed)
	case c.Upstreams != "" && !plainPath.MatchString(c.Upstreams):
		return fmt.Errorf("conf file %q: allowed is %s", c.Upstreams, allowed)
	case !dictSize.MatchString(c.Dict):
		return fmt.Errorf("size of the shared memory %q: allowed is a number with k or m, such as 16m", c.Dict)
	}
	return c.validListen()
}

// validListen only accepts loopback and unix sockets: whoever reaches the API controls the traffic.
func (c Config) validListen() error {
	if path, ok := strings.CutPrefix(c.Listen, "unix:"); ok {
		if !plainPath.MatchString(path) || strings.Contains(path, ":") {
			return fmt.Errorf("listen %q: allowed behind unix: is an absolute path", c.Listen)
		}
		return nil
	}
	addr, err := netip.ParseAddrPort(c.Listen)
	if err != nil || addr.Port() == 0 || addr.Addr().Zone() != "" {
		return fmt.Errorf("listen %q: allowed is an address with a port, such as 127.0.0.1:18882, or unix:/path", c.Listen)
	}
	if !addr.Addr().IsLoopback() {
		return fmt.Errorf("listen %q: whoever reaches the API steers the traffic: allowed is loopback or unix:/path", c.Listen)
	}
	return nil
}

// Paste returns the lines for nginx.conf.
func (c Config) Paste() string {
	return fmt.Sprintf(`http {
    include %s;

    map $host $service {            # which host goes to which upstream
        default         "";
        www.example.com web;
    }
    server {
        listen 80;
        location / {
            set $dyups_upstream $service;   # where it is empty, 404
            include %s;
        }
    }
}
`, filepath.Join(c.Dir, HTTPInclude), filepath.Join(c.Dir, LocationInclude))
}

// Settings returns the lines for swallowkeeper's configuration.
func (c Config) Settings() string {
	address := c.Listen
	if !strings.HasPrefix(address, "unix:") {
		address = "http://" + address
	}
	persist := ""
	if c.Upstreams != "" {
		persist = fmt.Sprintf("[persist]\npath = %q   # nginx need not include it\n\n", c.Upstreams)
	}
	return persist + fmt.Sprintf("[[gateway]]\naddress = %q\n", address)
}

// file is a file to install.
type file struct {
	path string // relative to Dir
	text []byte // including its first line
}

// render makes all files. The first line of each has the digest of the rest, by which a later install detects changes.
func (c Config) render() ([]file, error) {
	fill := strings.NewReplacer("@DIR@", c.Dir, "@LISTEN@", c.Listen, "@UPSTREAMS@", c.Upstreams, "@DICT@", c.Dict)
	var list []file
	err := fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) == ".conf" {
			text = []byte(fill.Replace(string(text)))
		}
		first := comment(path) + mark + digest(text) + "\n"
		list = append(list, file{strings.TrimPrefix(path, "files/"), append([]byte(first), text...)})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the library in the binary: %w", err)
	}
	return list, nil
}

const mark = " Installed by swallowkeeper, sha256 of what follows: "

func comment(path string) string {
	if filepath.Ext(path) == ".lua" {
		return "--"
	}
	return "#"
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// untouched reports whether a file is as installed, by this version or another.
func untouched(path string, text []byte) bool {
	first, rest, _ := strings.Cut(string(text), "\n")
	return first == comment(path)+mark+digest([]byte(rest))
}

// ErrChanged is the cause of the error for changed files.
var ErrChanged = errors.New("not as swallowkeeper installed it")
