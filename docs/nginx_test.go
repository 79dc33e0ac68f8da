package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"swallowkeeper/dyups/lua"
	"swallowkeeper/internal/nginxtest"
	"swallowkeeper/internal/suite"
)

// ofDyups are directives that only Tengine and nginx with the dyups module have.
var ofDyups = regexp.MustCompile(`(?m)(^|\s)(dyups_\w+|check)\b[^;\n]*;`)

// aFile is a file of swallowkeeper's own that is included by its name: it is not here.
var aFile = regexp.MustCompile(`include /var/lib/swallowkeeper/[^*;]*;`)

// TestNginxSnippets: what the pages show of an nginx.conf, a real nginx takes: at the top, or within http, server, location or
// upstream. Where TENGINE_BIN names no Tengine, dyups' own directives are left out.
func TestNginxSnippets(t *testing.T) {
	if !nginxtest.Exists(nginxtest.Nginx) {
		suite.Absent(t, "no nginx here: scripts/setup-tests.sh installs it on Debian")
	}
	library := filepath.Join(t.TempDir(), "dyups")
	cfg := lua.DefaultConfig()
	cfg.Dir, cfg.Listen = library, "unix:"+filepath.Join(t.TempDir(), "dyups.sock")
	if _, err := lua.Install(cfg, false); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir() // of the gateway nginx, which has an upstream
	if err := os.Mkdir(filepath.Join(folder, "current"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "current/web.upstream.conf"), []byte("upstream web { server 10.0.0.1:80; }"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/etc/nginx/dyups", library, "/etc/nginx/swallowkeeper", folder, "/etc/ssl/certs/internal.pem", "/etc/ssl/certs/ca-certificates.crt")
	seen := 0
	for _, page := range pages(t) {
		for _, block := range regexp.MustCompile("(?ms)^```nginx\n(.*?)^```$").FindAllStringSubmatch(read(t, page), -1) {
			seen++
			program := nginxtest.Nginx
			snippet := block[1]
			if ofDyups.MatchString(snippet) {
				if tengine := os.Getenv("TENGINE_BIN"); tengine != "" {
					program = tengine
				} else {
					snippet = ofDyups.ReplaceAllString(snippet, "$1")
				}
			}
			dir := t.TempDir()
			sockets := 0
			snippet = regexp.MustCompile(`listen\s+[^;\s]+`).ReplaceAllStringFunc(snippet, func(string) string {
				sockets++ // a test of the file listens
				return fmt.Sprintf("listen unix:%s/%d", dir, sockets)
			})
			snippet = here.Replace(aFile.ReplaceAllString(snippet, "# $0"))
			around := "" // what another snippet of its page shows
			if strings.Contains(snippet, "$dyups_upstream") && !strings.Contains(snippet, "dyups.conf") {
				around = "include " + library + "/dyups.conf; map $host $service { default web; }"
			}
			var refused []string
			taken := false
			for _, within := range []string{"%s", "http { " + around + " %s }", "http { " + around + " server { %s } }", "http { " + around + " server { location / { %s } } }", "http { upstream u { server 10.0.0.1; %s } }"} {
				out, err := tested(t, program, dir, fmt.Sprintf(within, "\n"+snippet+"\n"))
				if taken = err == nil; taken {
					break
				}
				refused = append(refused, out)
			}
			if !taken {
				t.Errorf("%s: %s says\n%s\nof\n%s", page, program, strings.Join(refused, ""), block[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d were found", seen)
	}
}

// tested returns what a program says of a configuration.
func tested(t *testing.T, program, dir, conf string) (string, error) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o700); err != nil { // where one that was built by hand has its logs
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nginx.conf")
	if !regexp.MustCompile(`(?m)^pid `).MatchString(conf) {
		conf = "pid " + dir + "/pid;\n" + conf
	}
	if !strings.Contains(conf, "events {") {
		conf = "events {}\n" + conf
	}
	if program == nginxtest.Nginx && nginxtest.Exists(nginxtest.Lua) {
		kit := filepath.Join(filepath.Dir(nginxtest.Lua), "ndk_http_module.so")
		conf = "load_module " + kit + ";\nload_module " + nginxtest.Lua + ";\n" + conf
	}
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "-t", "-q", "-p", dir, "-e", filepath.Join(dir, "log"), "-c", file).CombinedOutput()
	return string(out), err
}
