package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"swallowkeeper/doctor"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/status"
)

// writeFile writes a file below the rig's folder.
func (r *rig) writeFile(name, text string) string {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

func TestDoctor(t *testing.T) {
	r := newRig(t).configure()
	r.up("web", "10.0.0.1:80")
	r.once().wants(t, status.ExitInSync)
	api, err := url.Parse(r.nginx[0].API())
	if err != nil {
		t.Fatal(err)
	}
	nginx := fmt.Sprintf(`# configuration file /etc/nginx/nginx.conf:
http {
    include %s/*.conf;
    server {
        listen %s;
        client_body_in_file_only clean;
        location / { dyups_interface; add_header X-Dyups-Worker $pid always; }
    }
    server { location / { set $ups %sweb; proxy_pass http://$ups; } }
}
`, filepath.Dir(r.conf), api.Host, r.prefix)
	good := r.writeFile("good.dump", nginx)
	bad := r.writeFile("bad.dump", strings.Replace(nginx, "$ups;", r.prefix+"web;", 1))
	ask := func(args ...string) ran {
		return call(t, nil, append([]string{"--config", r.toml, "doctor"}, args...)...)
	}
	ask("--nginx-conf", good).wants(t, status.ExitInSync, "nothing found")
	ask("--nginx-conf", bad).wants(t, status.ExitFailed, "problem: ", "[proxy-pass]", "nginx.conf:8", "problems: 1")
	ask("--nginx", filepath.Join(r.dir, "none")).wants(t, status.ExitFailed, "not examined: ", "[nginx-unread]")

	var out struct {
		ExitCode int              `json:"exit_code"`
		Findings []doctor.Finding `json:"findings"`
	}
	got := ask("--nginx-conf", bad, "--output", "json")
	if err := json.Unmarshal([]byte(got.stdout), &out); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	if got.code != status.ExitFailed || out.ExitCode != got.code || len(out.Findings) != 1 || out.Findings[0].Check != "proxy-pass" {
		t.Errorf("%d: %+v", got.code, out)
	}
	if got = ask("--nginx-conf", good, "--output", "json"); !strings.Contains(got.stdout, `"findings": []`) {
		t.Errorf("printed %s", got.stdout)
	}
	plain(t, got.stdout)

	many := r.writeFile("many.dump", strings.Replace(nginx, "location / { set", strings.Repeat("location /a { proxy_pass http://$host; }\n", 21)+"location / { set", 1))
	got = ask("--nginx-conf", many, "--output", "json")
	if err := json.Unmarshal([]byte(got.stdout), &out); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	if got.code != status.ExitInSync || len(out.Findings) != 1 || len(out.Findings[0].Places) != 21 || out.Findings[0].Places[0] != out.Findings[0].Where {
		t.Errorf("%d: %+v", got.code, out)
	}
	ask("--nginx-conf", many).wants(t, status.ExitInSync, "  where:  /etc/nginx/nginx.conf:8\n          /etc/nginx/nginx.conf:9\n", "          and 1 more", "warnings: 1")

	ask("--output", "xml").wants(t, status.ExitUsage, "text, json or yaml")
	ask("--timeout", "0s").wants(t, status.ExitUsage, "above 0s")
	ask("extra").wants(t, status.ExitUsage)
	absent := filepath.Join(r.dir, "absent.conf")
	ask("--nginx-conf", absent).wants(t, status.ExitUsage, "--nginx-conf", absent, "no such file")
	ask("--nginx-conf", r.dir).wants(t, status.ExitUsage, r.dir, "is a directory")

	// A gateway and a Consul that are down, and a conf file of somebody's.
	r.writeFile("conf/upstreams.conf", "upstream mine { server 127.0.0.1:1; }\n")
	r.nginx[0].Close()
	r.consul = loopback.Refused(t)
	r.configure()
	ask("--nginx-conf", good).wants(t, status.ExitFailed, "[gateway-unread]", "[registry-unread]", "[conf-unread]", "not examined: 3")
}

// TestDoctorOfLua holds that what install-lua writes is without fault, as the real nginx
// reads it.
func TestDoctorOfLua(t *testing.T) {
	nginx, err := exec.LookPath("/usr/sbin/nginx")
	const modules = "/usr/lib/nginx/modules"
	if _, e := os.Stat(modules + "/ngx_http_lua_module.so"); err != nil || e != nil {
		t.Skip("needs nginx with its Lua module")
	}
	r := bareRig(t, loopback.Refused(t)).configure()
	call(t, nil, "nginx", "install-lua", "--dir", r.dir+"/lua", "--upstreams", r.conf).wants(t, 0)
	main := r.writeFile("nginx.conf", fmt.Sprintf(`load_module %[1]s/ndk_http_module.so;
load_module %[1]s/ngx_http_lua_module.so;
pid %[2]s/nginx.pid;
events {}
http {
    client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f;
    uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s; access_log off;
    include %[2]s/lua/dyups.conf;
    server { listen 127.0.0.1:18080; location / { include %[2]s/lua/proxy.conf; } }
}
`, modules, r.dir))
	facts := doctor.Facts{ConfPath: r.conf}
	tree, elsewhere, found := doctor.ReadNginx(t.Context(), doctor.NginxSource{
		Program: nginx, Args: []string{"-p", r.dir, "-c", main, "-g", "error_log stderr;"},
	})
	facts.Nginx, facts.Elsewhere = tree, elsewhere
	if found = append(found, doctor.Examine(facts)...); tree == nil || len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}
