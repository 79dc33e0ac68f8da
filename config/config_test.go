package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"swallowkeeper/internal/golden"
	"swallowkeeper/kinds"
	"swallowkeeper/registry/consul"
	"swallowkeeper/upstream"
)

// known is what the program knows.
var known = Kinds{Registries: kinds.Registries(), Gateways: kinds.Gateways()}

// none is a default path at which nothing is, so that no test sees this machine's file.
const none = "testdata/none.toml"

func files(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return list
}

func TestGoodFiles(t *testing.T) {
	for _, path := range files(t, "testdata/good/*.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := load(path, none, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.File != path {
				t.Errorf("file is %q, want %q", c.File, path)
			}
			golden.File(t, strings.TrimSuffix(path, ".toml")+".want", c.TOML())
		})
	}
}

func TestBadFiles(t *testing.T) {
	for _, path := range files(t, "testdata/bad/*.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := load(path, none, nil, nil)
			if err == nil {
				t.Fatal("loads")
			}
			var wrong *Error
			if !errors.As(err, &wrong) {
				t.Errorf("%T is no *Error", err)
			}
			if diff := cmp.Diff(Config{}, c); diff != "" {
				t.Errorf("half a configuration beside the error: %s", diff)
			}
			golden.File(t, strings.TrimSuffix(path, ".toml")+".want", err.Error()+"\n")
		})
	}
}

func TestNoUsableFile(t *testing.T) {
	folder := t.TempDir()
	write := func(name string, content string, mode fs.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(folder, "missing.toml")
	huge := write("huge.toml", "#"+strings.Repeat("x", maxFile), 0o600)
	closed := filepath.Join(folder, "closed.toml") // a loop of links: not even root can read it
	if err := os.Symlink("closed.toml", closed); err != nil {
		t.Fatal(err)
	}
	full := write("full.toml", "#"+strings.Repeat("x", maxFile-1), 0o600)

	for _, test := range []struct {
		name, path, fallback string
		want                 string
		is                   error
	}{
		{"missing", missing, none, missing + ": read the configuration: no such file or directory", fs.ErrNotExist},
		{"in a file", full + "/x", none, full + "/x: read the configuration: not a directory", nil},
		{"a folder", folder, none, folder + ": is a folder; allowed is a file in TOML", nil},
		{"huge", huge, none, huge + ": is too big for a configuration; allowed are 1048576 bytes", nil},
		{"unreadable", closed, none, closed + ": read the configuration: too many levels of symbolic links", syscall.ELOOP},
		{"unreadable default", "", closed, closed + ": read the configuration: too many levels of symbolic links", syscall.ELOOP},
		{"the default is missing", "", missing, "", nil},
		{"as big as may be", full, none, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := load(test.path, test.fallback, nil, nil)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
		})
	}
}

func TestDefaultFile(t *testing.T) {
	c, err := load("", "testdata/good/short.toml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.File != "testdata/good/short.toml" || c.Guard.MinServices != 30 {
		t.Errorf("the default file was not read: %q, min_services %d", c.File, c.Guard.MinServices)
	}
	c, err = load("", none, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(known.Default(), c); diff != "" {
		t.Errorf("without a file the defaults hold (-want +got):\n%s", diff)
	}
}

// TestOrder sets one key in ever more places.
func TestOrder(t *testing.T) {
	env := []string{"PATH=/bin", "SWALLOWKEEPER_GUARD_MIN_SERVICES=40", "SWALLOWKEEPER_LOG_LEVEL=debug"}
	for _, test := range []struct {
		name      string
		path      string
		env       []string
		overrides []string
		want      int
	}{
		{"default", "", nil, nil, 1},
		{"file", "testdata/good/short.toml", nil, nil, 30},
		{"environment", "testdata/good/short.toml", env, nil, 40},
		{"environment without a file", "", env, nil, 40},
		{"command line", "testdata/good/short.toml", env, []string{"guard.min_services=50"}, 50},
		{"last of the command line", "", env, []string{"guard.min_services=50", "guard.min_services=60"}, 60},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := load(test.path, none, test.env, test.overrides)
			if err != nil {
				t.Fatal(err)
			}
			if c.Guard.MinServices != test.want {
				t.Errorf("min_services = %d, want %d", c.Guard.MinServices, test.want)
			}
		})
	}
}

// TestText sets one key of each type from outside the file.
func TestText(t *testing.T) {
	consul := func(c Config) *consul.Config { return c.Registries[0].Config.(*consul.Config) }
	for _, test := range []struct {
		name, key, text string
		got             func(Config) any
		want            any
	}{
		{"string", "persist.path", "/tmp/a=b", func(c Config) any { return c.Persist.Path }, "/tmp/a=b"},
		{"empty", "registry.canary_tag", "", func(c Config) any { return consul(c).CanaryTag }, ""},
		{"boolean", "registry.stale", "true", func(c Config) any { return consul(c).Stale }, true},
		{"whole number", "upstream.max_conns", "7", func(c Config) any { return c.Upstream.MaxConns }, 7},
		{"number", "guard.max_removal", "0.25", func(c Config) any { return c.Guard.MaxRemoval }, 0.25},
		{"number without a fraction", "guard.max_removal", "1", func(c Config) any { return c.Guard.MaxRemoval }, 1.0},
		{"duration", "registry.wait", "1m30s", func(c Config) any { return consul(c).Wait }, 90 * time.Second},
		{"list", "persist.check", "nginx, -t", func(c Config) any { return c.Persist.Check }, []string{"nginx", "-t"}},
		{"TOML list", "persist.check", `["a,b", 'c']`, func(c Config) any { return c.Persist.Check }, []string{"a,b", "c"}},
		{"empty list", "registry.exclude", "", func(c Config) any { return consul(c).Exclude }, []string{}},
		{"first of a list", "registry.1.name", "x", func(c Config) any { return c.Registries[0].Name }, "x"},
		{"next of a list", "gateway.2.name", "x", func(c Config) any { return c.Gateways[1].Name }, "x"},
	} {
		variable := envPrefix + strings.ToUpper(strings.ReplaceAll(test.key, ".", "_"))
		for name, in := range map[string]struct{ env, overrides []string }{
			"command line": {nil, []string{test.key + "=" + test.text, "gateway.2.address=unix:/b"}},
			"environment":  {[]string{variable + "=" + test.text, "SWALLOWKEEPER_GATEWAY_2_ADDRESS=unix:/b"}, nil},
		} {
			t.Run(test.name+" from the "+name, func(t *testing.T) {
				c, err := load("", none, in.env, in.overrides)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, test.got(c)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestOneUpstreamOnTheCommandLine: names may have dots, and be those of options.
func TestOneUpstreamOnTheCommandLine(t *testing.T) {
	for _, test := range []struct{ override, upstream string }{
		{"upstream.web.weight=9", "web"},
		{"upstream.web.v1.weight=9", "web.v1"},
		{`upstream."web.v1".weight=9`, "web.v1"},
		{"upstream.weight.weight=9", "weight"},
	} {
		t.Run(test.override, func(t *testing.T) {
			c, err := load("", none, nil, []string{test.override})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Upstreams[test.upstream].Weight; got != 9 || c.Upstream.Weight != 1 {
				t.Errorf("weight of %s is %d, of all %d; want 9 and 1", test.upstream, got, c.Upstream.Weight)
			}
		})
	}
}

func TestEnvironmentGrowsLists(t *testing.T) {
	var env []string
	for _, n := range []string{"10", "3", "2", "9", "4", "5", "6", "7", "8"} {
		env = append(env, "SWALLOWKEEPER_REGISTRY_"+n+"_NAME=dc"+n)
	}
	c, err := load("", none, env, []string{"registry.11.name=dc11"})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(c.Registries); got != 11 {
		t.Fatalf("%d registries, want 11", got)
	}
	if got := c.Registries[9].Name; got != "dc10" {
		t.Errorf("the tenth is called %q", got)
	}
}

func TestBadText(t *testing.T) {
	for _, test := range []struct {
		name      string
		env       string
		overrides string
		want      string
	}{
		{
			"typing error in a variable", "GUARD_MAX_REMOVL=1", "",
			"SWALLOWKEEPER_GUARD_MAX_REMOVL: unknown variable; did you mean SWALLOWKEEPER_GUARD_MAX_REMOVAL?",
		},
		{
			"typing error in a numbered variable", "REGISTRY_2_HELTH=x", "",
			"SWALLOWKEEPER_REGISTRY_2_HELTH: unknown variable; did you mean SWALLOWKEEPER_REGISTRY_2_HEALTH?",
		},
		{
			"foreign variable", "PORT_8080_TCP=tcp://10.0.0.1", "",
			"SWALLOWKEEPER_PORT_8080_TCP: unknown variable; allowed are SWALLOWKEEPER_, the table and the key, " +
				"e.g. SWALLOWKEEPER_GUARD_MIN_SERVICES",
		},
		{
			"variable for one upstream", "UPSTREAM_SHOP_KEEPALIVE=3", "",
			"SWALLOWKEEPER_UPSTREAM_SHOP_KEEPALIVE: unknown variable; allowed are SWALLOWKEEPER_, the table and the key, " +
				"e.g. SWALLOWKEEPER_GUARD_MIN_SERVICES; the options of a single upstream are set in the file or on the command line",
		},
		{
			"wrong type", "GUARD_MIN_SERVICES=thirty", "guard.min_services=3.5",
			"SWALLOWKEEPER_GUARD_MIN_SERVICES: guard.min_services: \"thirty\" is not allowed; allowed is a whole number\n" +
				"command line: guard.min_services: \"3.5\" is not allowed; allowed is a whole number",
		},
		{
			"bare number for a duration", "REGISTRY_WAIT=180", "gateway.resync=10",
			"SWALLOWKEEPER_REGISTRY_WAIT: registry.wait: \"180\" is not allowed; allowed is a duration such as \"3s\" or \"1m30s\"\n" +
				"command line: gateway.resync: \"10\" is not allowed; allowed is a duration such as \"3s\" or \"1m30s\"",
		},
		{
			"wrong value", "GUARD_MAX_REMOVAL=2", "log.level=loud",
			"SWALLOWKEEPER_GUARD_MAX_REMOVAL: guard.max_removal: 2.0 is not allowed; allowed is a share from 0 to 1\n" +
				"command line: log.level: \"loud\" is not allowed; allowed is \"trace\", \"debug\", \"info\", \"warning\" or \"error\"",
		},
		{
			"wrong boolean and list", "REGISTRY_STALE=yes", `registry.tags=["a`,
			"SWALLOWKEEPER_REGISTRY_STALE: registry.stale: \"yes\" is not allowed; allowed is true or false\n" +
				"command line: registry.tags: \"[\\\"a\" is not allowed; allowed is a list of strings such as [\"a\", \"b\"]",
		},
		{
			"a list that smuggles a key", "", "registry.tags=[]\nx=1",
			"command line: registry.tags: \"[]\\nx=1\" is not allowed; allowed is a list of strings such as [\"a\", \"b\"]",
		},
		{
			"not UTF-8", "PERSIST_PATH=/\xff", "",
			"SWALLOWKEEPER_PERSIST_PATH: persist.path: the value is not UTF-8",
		},
		{
			"a gap in a list", "REGISTRY_3_NAME=x", "gateway.7.name=x",
			"SWALLOWKEEPER_REGISTRY_3_NAME: registry.3.name: there is no registry 2; the next one is 2\n" +
				"command line: gateway.7.name: there is no gateway 2; the next one is 2",
		},
		{
			"no value", "", "guard.min_services",
			`command line: "guard.min_services" has no value; allowed is key.path=value, e.g. guard.min_services=30`,
		},
		{
			"unknown key", "", "guard.max_removl=1",
			"command line: guard.max_removl: unknown key; did you mean max_removal?",
		},
		{
			"unknown table", "", "gaurd.max_removal=1",
			`command line: "gaurd.max_removal": unknown key; did you mean guard.max_removal?`,
		},
		{
			"only a table", "", "guard=1",
			`command line: "guard": unknown key; allowed is the table and the key, e.g. guard.min_services`,
		},
		{
			"no key", "", "=1",
			`command line: "": unknown key; allowed is the table and the key, e.g. guard.min_services`,
		},
		{
			"number zero", "", "registry.0.name=x",
			`command line: "registry.0.name": unknown key; did you mean registry.name?`,
		},
		{
			"too many parts", "", "guard.a.b=x",
			`command line: "guard.a.b": unknown key; allowed is the table and the key, e.g. guard.min_services`,
		},
		{
			"no upstream's name", "", "upstream.a b.weight=1",
			`command line: upstream."a b": the name has characters other than letters, digits, _ . - or begins with . or -`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var env, overrides []string
			if test.env != "" {
				env = []string{envPrefix + test.env}
			}
			if test.overrides != "" {
				overrides = []string{test.overrides}
			}
			_, err := load("", none, env, overrides)
			if err == nil {
				t.Fatal("loads")
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAgentFromEnvironment: a registry without an address reads CONSUL_HTTP_ADDR.
func TestAgentFromEnvironment(t *testing.T) {
	overrides := []string{"registry.1.address=", "registry.2.address=10.0.0.1:8500"}
	if _, err := load("", none, nil, overrides); err != nil {
		t.Errorf("two agents: %v", err)
	}
	_, err := load("", none, []string{"CONSUL_HTTP_ADDR=10.0.0.1:8500"}, overrides)
	want := `command line: registry.2.name: registry 1 has "consul@10.0.0.1:8500" too; allowed is one of its own`
	if err == nil || err.Error() != want {
		t.Errorf("one agent twice:\ngot  %v\nwant %s", err, want)
	}
}

func TestUpstreamDefaults(t *testing.T) {
	c, err := load("testdata/good/several.toml", none, nil, []string{"upstream.web.method=ip_hash"})
	if err != nil {
		t.Fatal(err)
	}
	all := upstream.DefaultTemplate()
	all.Options.Keepalive, all.MaxFails = 64, 5
	web := all
	web.MaxFails, web.Options.Method = 0, "ip_hash"
	api := all
	api.Options.Method, api.FailTimeout = "least_conn", 10*time.Second
	weight := all
	weight.Weight = 7
	want := upstream.Defaults{All: all, Name: map[string]upstream.Template{"web": web, "api.v1": api, "weight": weight}}
	if diff := cmp.Diff(want, c.Defaults()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLoadsAreIndependent changes one configuration and looks at the next.
func TestLoadsAreIndependent(t *testing.T) {
	first, err := load("", none, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	first.Registries[0].Config.(*consul.Config).Exclude[0] = "changed"
	second, err := load("", none, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(known.Default(), second); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTOMLLoadsAgain: what check prints is a configuration.
func TestTOMLLoadsAgain(t *testing.T) {
	for _, path := range files(t, "testdata/good/*.toml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			c, err := load(path, none, nil, nil)
			if err == nil && c.Registries[0].Type == "consul" { // a token is shown as set, and can't come back
				c, err = load(path, none, nil, []string{"registry.token="})
			}
			if err != nil {
				t.Fatal(err)
			}
			again, err := known.parse(path, c.TOML(), nil, nil, anyFile)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, again, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTOMLHidesSecrets(t *testing.T) {
	overrides := []string{"registry.token=very-secret", "registry.2.token=very-secret", "registry.2.name=b"}
	c, err := load("", none, nil, overrides)
	if err != nil {
		t.Fatal(err)
	}
	got := c.TOML()
	if strings.Contains(got, "very-secret") || strings.Count(got, `token = "(set)"`) != 2 {
		t.Errorf("the token is shown, or not said to be set:\n%s", got)
	}
}

// load is Load on a machine that has every file that a key names.
func load(path, fallback string, env, overrides []string) (Config, error) {
	return known.read(path, fallback, env, overrides, anyFile)
}

func anyFile(string) error { return nil }

func TestFilesThatKeysName(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "token")
	if err := os.WriteFile(there, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "swallowkeeper.toml")
	text := "[[registry]]\ntoken_file = \"" + there + "\"\nca_file = \"/none/ca.pem\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := known.Load(file, nil, nil)
	want := file + ":3: registry.ca_file: open /none/ca.pem: no such file or directory; allowed is a file that can be read"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
