package doctor_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/doctor"
	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/upstream"
)

func TestServicesCalledLikeHosts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nginx.conf")
	conf := `http { server {
location /g { proxy_pass http://grafana:3000; }
location /l { proxy_pass http://localhost; }
location /w { proxy_pass http://web; }
location /o { fastcgi_pass other:9000; }
} }
`
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := nginxtree.ReadDisk(file)
	if err != nil {
		t.Fatal(err)
	}
	set := func(names ...string) upstream.Set {
		var list []upstream.Upstream
		for _, n := range names {
			list = append(list, upstream.Upstream{Name: n, Servers: []upstream.Server{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}}})
		}
		return upstream.NewSet(list)
	}
	find := func(written, wanted upstream.Set) string {
		var said []string
		for _, f := range doctor.Examine(doctor.Facts{Nginx: tree, ConfPath: "/nowhere/u.conf", Written: written, Wanted: wanted}) {
			if f.Check == "host-name" {
				said = append(said, string(f.Severity)+" "+f.Now)
			}
		}
		return strings.Join(said, "\n")
	}
	if got, want := find(set("web"), set("web", "Grafana", "localhost")), "warning proxy_pass http://grafana:3000;\nwarning proxy_pass http://localhost;"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := find(set("web", "grafana"), set("web")), "problem proxy_pass http://grafana:3000;"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
