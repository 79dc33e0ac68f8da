package consultestserver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFindBinary(t *testing.T) {
	tests := []struct {
		name   string
		env    string   // CONSUL_BIN, below the test's folder
		module string   // scripts/consul/go.mod, "" for none
		files  []string // executables, below the test's folder
		want   string   // below the test's folder, "" for an error
		none   bool     // the error is errNoBinary
	}{
		{
			name: "CONSUL_BIN wins", env: "mine",
			module: "require github.com/hashicorp/consul v1.2.3 // indirect\n",
			files:  []string{"mine", "path/consul", "cache/swallowkeeper/consul-1.2.3"}, want: "mine",
		},
		{name: "CONSUL_BIN is not there", env: "mine", files: []string{"path/consul"}},
		{
			name: "PATH before cache", module: "github.com/hashicorp/consul v1.2.3\n",
			files: []string{"path/consul", "cache/swallowkeeper/consul-1.2.3"}, want: "path/consul",
		},
		{
			name: "cache", module: "github.com/hashicorp/consul/api v1.1.1\ngithub.com/hashicorp/consul v1.2.3\n",
			files: []string{"cache/swallowkeeper/consul-1.2.3"}, want: "cache/swallowkeeper/consul-1.2.3",
		},
		{
			name: "another version in the cache", module: "github.com/hashicorp/consul v1.2.3\n",
			files: []string{"cache/swallowkeeper/consul-1.2.2"}, none: true,
		},
		{name: "no source tree", none: true},
		{name: "a module without Consul", module: "module x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tt.files {
				write(t, filepath.Join(dir, name), "#!/bin/sh\n", 0o700)
			}
			if tt.module != "" {
				write(t, filepath.Join(dir, "scripts/consul/go.mod"), tt.module, 0o600)
			}
			work := filepath.Join(dir, "internal", "deep")
			if err := os.MkdirAll(work, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Chdir(work)
			t.Setenv("PATH", filepath.Join(dir, "path"))
			t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
			t.Setenv("CONSUL_BIN", "")
			if tt.env != "" {
				t.Setenv("CONSUL_BIN", filepath.Join(dir, tt.env))
			}

			got, err := findBinary()
			if tt.want == "" {
				if err == nil {
					t.Fatalf("found %s", got)
				}
				if errors.Is(err, errNoBinary) != tt.none {
					t.Errorf("errNoBinary is %v in: %v", !tt.none, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(dir, tt.want); got != want {
				t.Errorf("found %s, want %s", got, want)
			}
		})
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
