package consultestserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// errNoBinary means that no Consul is installed or built.
var errNoBinary = errors.New("no Consul binary: run `make consul` once to build it, or set CONSUL_BIN")

// pinned finds the version in the go.mod of the module that scripts/consul.sh builds.
var pinned = regexp.MustCompile(`(?m)\bgithub\.com/hashicorp/consul v(\S+)`)

// Binary is the path of the Consul that tests run. Where there is none it fails the test with what to do about
// it, or skips it under -short.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := findBinary()
	if errors.Is(err, errNoBinary) && testing.Short() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// findBinary returns the Consul that scripts/consul.sh prints, but builds none: CONSUL_BIN, else
// consul on the PATH, else the one built before.
func findBinary() (string, error) {
	if path := os.Getenv("CONSUL_BIN"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("look for the binary that CONSUL_BIN names: %w", err)
		}
		return found, nil
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path, nil
	}
	version, err := pinnedVersion()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	path, err := exec.LookPath(filepath.Join(cache, "swallowkeeper", "consul-"+version))
	if err != nil {
		return "", fmt.Errorf("%w (%w)", errNoBinary, err)
	}
	return path, nil
}

// cacheDir is scripts/consul.sh's, which os.UserCacheDir is not on macOS.
func cacheDir() (string, error) {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(home, ".cache"), nil
}

// pinnedVersion looks for the module from the working directory upwards: tests run in their
// package's folder.
func pinnedVersion() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the pinned version of Consul: %w", err)
	}
	for {
		name := filepath.Join(dir, "scripts", "consul", "go.mod")
		text, err := os.ReadFile(name)
		if err == nil {
			match := pinned.FindSubmatch(text)
			if match == nil {
				return "", fmt.Errorf("%s requires no github.com/hashicorp/consul", name)
			}
			return string(match[1]), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the pinned version of Consul: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%w (not in the source tree, so the version is unknown)", errNoBinary)
		}
		dir = parent
	}
}
