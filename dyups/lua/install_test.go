package lua_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/dyups/lua"
)

func config(t *testing.T) lua.Config {
	t.Helper()
	c := lua.DefaultConfig()
	c.Dir = filepath.Join(t.TempDir(), "new", "dyups")
	return c
}

func install(t *testing.T, c lua.Config, force bool) map[string]lua.State {
	t.Helper()
	results, err := lua.Install(c, force)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]lua.State{}
	for _, r := range results {
		name, err := filepath.Rel(c.Dir, r.Path)
		if err != nil {
			t.Fatal(err)
		}
		states[name] = r.State
	}
	return states
}

func wantAll(t *testing.T, states map[string]lua.State, want lua.State, but map[string]lua.State) {
	t.Helper()
	if len(states) != 8 {
		t.Errorf("%d files: %v", len(states), states)
	}
	for name, got := range states {
		want := want
		if other, ok := but[name]; ok {
			want = other
		}
		if got != want {
			t.Errorf("%s was %s, want %s", name, got, want)
		}
	}
}

func TestInstall(t *testing.T) {
	c := config(t)
	wantAll(t, install(t, c, false), lua.Written, nil)
	wantAll(t, install(t, c, false), lua.Unchanged, nil)
	wantAll(t, install(t, c, true), lua.Unchanged, nil)

	conf, err := os.ReadFile(filepath.Join(c.Dir, lua.HTTPInclude))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"lua_shared_dict dyups 16m;", "listen " + lua.DefaultListen() + ";", `"` + c.Dir + `/?.lua;"`,
		`start("/var/lib/swallowkeeper/dyups.upstream.conf")`,
	} {
		if !strings.Contains(string(conf), want) {
			t.Errorf("%q is not in\n%s", want, conf)
		}
	}
	if strings.Contains(string(conf), "@") {
		t.Errorf("something was not filled in:\n%s", conf)
	}
	info, err := os.Stat(filepath.Join(c.Dir, "dyups", "api.lua"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}

	c.Dict = "64m" // what nobody changed is made anew
	wantAll(t, install(t, c, false), lua.Unchanged, map[string]lua.State{lua.HTTPInclude: lua.Updated})
	wantAll(t, install(t, c, false), lua.Unchanged, nil)
	left, err := filepath.Glob(filepath.Join(c.Dir, ".install-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestInstallOverChangedFiles(t *testing.T) {
	c := config(t)
	install(t, c, false)
	changed := filepath.Join(c.Dir, lua.HTTPInclude)
	text, err := os.ReadFile(changed)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), "keepalive 256;", "keepalive 8;", 1)
	foreign := filepath.Join(c.Dir, "dyups", "api.lua")
	missing := filepath.Join(c.Dir, lua.LocationInclude)
	for path, text := range map[string]string{changed: edited, foreign: "-- mine\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	_, err = lua.Install(c, false)
	if !errors.Is(err, lua.ErrChanged) || !strings.Contains(err.Error(), changed) || !strings.Contains(err.Error(), foreign) {
		t.Fatalf("error %v", err)
	}
	if now, _ := os.ReadFile(changed); string(now) != edited {
		t.Errorf("it was overwritten:\n%s", now)
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("something was written all the same")
	}
	wantAll(t, install(t, c, true), lua.Unchanged, map[string]lua.State{
		lua.HTTPInclude: lua.Forced, "dyups/api.lua": lua.Forced, lua.LocationInclude: lua.Written,
	})
}

func TestInstallFails(t *testing.T) {
	c := config(t)
	if err := os.MkdirAll(filepath.Join(c.Dir, lua.HTTPInclude), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := lua.Install(c, true); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder in the place of a file: %v", err)
	}
	c = config(t)
	if err := os.WriteFile(filepath.Dir(filepath.Dir(c.Dir))+"/new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lua.Install(c, false); err == nil || !strings.Contains(err.Error(), c.Dir) {
		t.Errorf("a file in the place of the folder: %v", err)
	}
}

// TestDefaultListen: a socket in a folder that is not there keeps nginx from starting.
func TestDefaultListen(t *testing.T) {
	dir := t.TempDir()
	for _, row := range [][2]string{{dir, "unix:" + dir + "/dyups.sock"}, {dir + "/missing", "127.0.0.1:18882"}} {
		if got := lua.ListenIn(row[0]); got != row[1] {
			t.Errorf("listen %s, want %s", got, row[1])
		}
	}
}

func TestValidate(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*lua.Config)
		want   string // "" is valid
	}{
		{"defaults", func(*lua.Config) {}, ""},
		{"loopback", func(c *lua.Config) { c.Listen = "127.0.0.1:18882" }, ""},
		{"unix socket", func(c *lua.Config) { c.Listen = "unix:/run/dyups/dyups.sock" }, ""},
		{"IPv6 loopback", func(c *lua.Config) { c.Listen = "[::1]:18882" }, ""},
		{"no conf file", func(c *lua.Config) { c.Upstreams = "" }, ""},
		{"every address", func(c *lua.Config) { c.Listen = "0.0.0.0:18882" }, "steers the traffic"},
		{"another machine's", func(c *lua.Config) { c.Listen = "10.0.0.1:18882" }, "steers the traffic"},
		{"port alone", func(c *lua.Config) { c.Listen = "18882" }, "127.0.0.1:18882"},
		{"port 0", func(c *lua.Config) { c.Listen = "127.0.0.1:0" }, "127.0.0.1:18882"},
		{"host name", func(c *lua.Config) { c.Listen = "localhost:80" }, "127.0.0.1:18882"},
		{"directive in the socket", func(c *lua.Config) { c.Listen = "unix:/a; evil" }, "absolute path"},
		{"relative folder", func(c *lua.Config) { c.Dir = "dyups" }, "absolute path"},
		{"Lua in the folder", func(c *lua.Config) { c.Dir = `/a" .. evil .. "` }, "absolute path"},
		{"newline in the conf file", func(c *lua.Config) { c.Upstreams = "/a\n" }, "absolute path"},
		{"size without unit", func(c *lua.Config) { c.Dict = "16" }, "16m"},
		{"size 0", func(c *lua.Config) { c.Dict = "0m" }, "16m"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config(t)
			row.change(&c)
			err := c.Validate()
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("error %v, want one with %q", err, row.want)
			}
			if _, installed := lua.Install(c, false); (installed == nil) != (err == nil) {
				t.Errorf("install: %v", installed)
			}
		})
	}
}
