package doctor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/doctor"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/gateway"
)

// TestAnNginxThatIsReloaded: which traps there are where a gateway writes files that nginx includes.
func TestAnNginxThatIsReloaded(t *testing.T) {
	for _, tt := range []struct {
		name, http, main string
		api              bool
		want             string
	}{
		{name: "all is well", main: "worker_shutdown_timeout 1m;", http: "include gen/current/*.upstream.conf; server { location / { proxy_pass http://web; } }"},
		{name: "old workers stay", http: "include gen/current/*.upstream.conf;", want: "shutdown-timeout"},
		{name: "both are included", main: "worker_shutdown_timeout 1m;", http: "include conf.d/*.conf; include gen/current/*.upstream.conf;", want: "included-twice"},
		{name: "the conf file comes last", main: "worker_shutdown_timeout 1m;", http: "include gen/current/*.upstream.conf; include conf.d/*.conf;", want: "included-twice"},
		{name: "by its generation", main: "worker_shutdown_timeout 1m;", http: "include conf.d/*.conf; include gen/generation-1/*.upstream.conf;", want: "included-twice"},
		{name: "by hand as well", main: "worker_shutdown_timeout 1m;", http: "include gen/current/*.upstream.conf; upstream api { server 127.0.0.1:1; }", want: "duplicate"},
		{name: "what is pushed needs the conf file", api: true, main: "worker_shutdown_timeout 1m;", http: "include gen/current/*.location.conf;", want: "interface conf-included"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("nginx.conf", tt.main+"\nhttp {\n"+strings.ReplaceAll(tt.http, "; ", ";\n")+"\n}\n")
			write("gen/generation-1/web.upstream.conf", "upstream web { server 127.0.0.1:1; }\n")
			write("conf.d/dyups.upstream.conf", "upstream web { server 127.0.0.1:1; }\n")
			if err := os.Symlink("generation-1", filepath.Join(dir, "gen", "current")); err != nil {
				t.Fatal(err)
			}
			tree, err := nginxtree.ReadDisk(filepath.Join(dir, "nginx.conf"))
			if err != nil {
				t.Fatal(err)
			}
			f := testFacts(dir)
			f.Nginx = tree
			reloaded := doctor.Gateway{Name: "edge", Examination: gateway.Examination{Folder: filepath.Join(dir, "gen")}}
			f.Gateways = []doctor.Gateway{reloaded}
			if tt.api {
				f.Gateways = append(f.Gateways, edge())
			}
			var found []string
			for _, one := range doctor.Examine(f) {
				found = append(found, one.Check)
			}
			if got := strings.Join(found, " "); got != tt.want {
				t.Errorf("found %q, want %q: %+v", got, tt.want, doctor.Examine(f))
			}
		})
	}
}
