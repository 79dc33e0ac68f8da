// Package lua offers the dyups API on a stock nginx that has its Lua module, Debian's
// libnginx-mod-http-lua or OpenResty. The library itself is written in Lua and stands
// in the folder files; this package carries it in the binary and installs it, never
// over a file that somebody has changed. It talks to no nginx.
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

// The two files that an nginx.conf includes.
const (
	HTTPInclude     = "dyups.conf"
	LocationInclude = "proxy.conf"
)

// Config is what the files are made for.
type Config struct {
	// Dir is where they go.
	Dir string
	// Listen is where the API listens: unix:/path, or an address of loopback with a port.
	Listen string
	// Upstreams is the conf file that is read when nginx starts, "" for none.
	Upstreams string
	// Dict is the size of the shared memory, such as 16m.
	Dict string
}

// socketDir is the folder of the API's socket that the packages and make install make at each boot. nginx
// does not start on a socket whose folder is not there.
const socketDir = "/run/dyups"

// DefaultListen is a socket in the folder that few enter, where there is one, and loopback elsewhere.
func DefaultListen() string { return listenIn(socketDir) }

func listenIn(dir string) string {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return "unix:" + dir + "/dyups.sock"
	}
	return "127.0.0.1:18882"
}

// DefaultConfig has the conf file where no nginx includes it: the library reads it, and an upstream
// that nginx finds twice keeps it from starting.
func DefaultConfig() Config {
	return Config{
		Dir:       "/etc/nginx/dyups",
		Listen:    DefaultListen(),
		Upstreams: "/var/lib/swallowkeeper/dyups.upstream.conf",
		Dict:      "16m",
	}
}

var (
	plainPath = regexp.MustCompile(`^/[A-Za-z0-9_./@:+=,-]*$`) // nothing that nginx or Lua would read as more
	dictSize  = regexp.MustCompile(`^[1-9][0-9]{0,8}[kKmM]$`)
)

// Validate says what is wrong with the configuration, or nil.
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

// validListen takes nothing but loopback and unix sockets: whoever reaches the API
// steers the traffic.
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

// Paste is what goes into nginx.conf.
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

// Settings is what goes into swallowkeeper's own configuration.
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

// file is one file as it is installed.
type file struct {
	path string // below Dir
	text []byte // with its first line
}

// render makes all files. The first line of each carries the digest of the rest, by
// which a later install sees whether somebody has changed it.
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

// untouched reports whether a file is as an install has left it, of this version or another.
func untouched(path string, text []byte) bool {
	first, rest, _ := strings.Cut(string(text), "\n")
	return first == comment(path)+mark+digest([]byte(rest))
}

// ErrChanged is the cause of the error where files are there that no install has
// left so.
var ErrChanged = errors.New("not as swallowkeeper installed it")
