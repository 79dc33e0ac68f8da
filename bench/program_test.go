package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// program is what is measured: a swallowkeeper, or consul-template.
type program struct {
	name, binary string
}

// programs are this source's swallowkeeper, the one that BASE names and the consul-template that CONSUL_TEMPLATE_BIN names.
func programs(b *testing.B) []program {
	b.Helper()
	list := []program{{Ours, *binary}}
	if *binary == "" {
		list[0].binary = build(b)
	}
	if file := os.Getenv("BASE"); file != "" {
		list = append(list, program{Base, file})
	}
	if file := os.Getenv("CONSUL_TEMPLATE_BIN"); file != "" {
		list = append(list, program{Template, file})
	}
	return list
}

// build makes swallowkeeper as it is installed.
func build(b *testing.B) string {
	b.Helper()
	binary := filepath.Join(b.TempDir(), "swallowkeeper")
	tags := ""
	if *profile != "" {
		tags = "profile" // see cmd/swallowkeeper/profile.go
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", tags, "-ldflags", "-s -w", "-o", binary, "swallowkeeper/cmd/swallowkeeper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// subject is a program at work between the catalog and a gateway.
type subject struct {
	program
	*process
	catalog *catalog
	gateway *gateway
	way     string
	dir     string // its files
	blind   bool   // it has nothing that could be looked at
}

func newSubject(b *testing.B, p program, c *catalog, way string) *subject {
	b.Helper()
	return &subject{program: p, catalog: c, gateway: newGateway(b), way: way, dir: b.TempDir()}
}

// start starts the program, with what it left in its folder before.
func (s *subject) start(b *testing.B) {
	b.Helper()
	if s.name == Template {
		s.process = startProcess(b, s.template(b))
		return
	}
	ca := ""
	if s.way == HTTPS {
		ca = fmt.Sprintf("ca_file = %q\n", s.catalog.server.CAFile)
	}
	status := fmt.Sprintf("[status]\naddress = \"\"\nsocket = %q\n", s.socket())
	if s.blind {
		status = ""
	}
	conf := filepath.Join(s.dir, "swallowkeeper.toml")
	text := fmt.Sprintf(`[log]
level = "warning"
[[registry]]
type = "consul"
address = %q
%sexclude = ["consul", %q]
[persist]
path = %q
%s[[gateway]]
type = "dyups"
address = %q
`, s.catalog.address(s.way), ca, floorHot, filepath.Join(s.gateway.upstreams, "upstreams.conf"), status, "http://"+s.gateway.api)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(s.binary, "--config", conf)
	cmd.Env = append(os.Environ(), "PROFILE_DIR="+s.dir)
	s.process = startProcess(b, cmd)
}

func (s *subject) socket() string { return filepath.Join(s.dir, "s") }

// surface is a client of swallowkeeper's page and API.
func (s *subject) surface() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.socket())
	}}}
}

// ready reports whether swallowkeeper says so.
func (s *subject) ready() bool {
	client := s.surface()
	client.Timeout = answerLimit
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://localhost/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// inSync waits until every worker has what Consul has, and fails where that does not come.
func (s *subject) inSync(b *testing.B, limit time.Duration) time.Duration {
	b.Helper()
	want := s.catalog.wanted()
	began := time.Now()
	for {
		looked := time.Now()
		why := s.gateway.differs(want)
		if why == "" {
			return looked.Sub(began)
		}
		if time.Since(began) > limit {
			b.Fatalf("%s is not in sync within %s: %s", s.name, limit, why)
		}
		time.Sleep(max(5*time.Millisecond, time.Since(began)/20))
	}
}

// template is consul-template with a template that writes what swallowkeeper writes, and reloads nginx.
func (s *subject) template(b *testing.B) *exec.Cmd {
	b.Helper()
	source := filepath.Join(s.dir, "upstreams.ctmpl")
	text := `{{range services}}{{if and (ne .Name "consul") (ne .Name "` + floorHot + `")}}upstream {{.Name}} {
	{{range service .Name}}server {{.Address}}:{{.Port}} max_fails=3 fail_timeout=2s;
	{{end}}keepalive 20;
}
{{end}}{{end}}`
	reload := fmt.Sprintf("%s -p %s -c %s -e %s/error.log -s reload", s.gateway.binary, s.gateway.dir, s.gateway.conf(), s.gateway.dir)
	conf := fmt.Sprintf(`consul {
  address = %q
  ssl {
    enabled = %t
    ca_cert = %q
  }
}
log_level = "err"
template {
  source = %q
  destination = %q
  command = %q
}
`, s.catalog.host(s.way), s.way == HTTPS, s.catalog.server.CAFile, source, filepath.Join(s.gateway.upstreams, "upstreams.conf"), reload)
	file := filepath.Join(s.dir, "template.hcl")
	for name, text := range map[string]string{source: text, file: conf} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return exec.Command(s.binary, "-config", file)
}
