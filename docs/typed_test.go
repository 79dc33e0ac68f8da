package docs

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"swallowkeeper/dyups/dyupstest"
	"swallowkeeper/internal/loopback"
	"swallowkeeper/registry/consul/consultest"
)

// typed are the pages whose console blocks are typed here, with the heading above them where it is not all of the page's.
// A block with a marker is left out.
var typed = []struct {
	page, under string
	types       func(t *testing.T, program string, blocks []snippet)
}{
	{"../README.md", "Quick start", quickStart},
	{"../README.zh-CN.md", "快速上手", quickStart},
	{"../docs/incidents.md", "", night},
	{"../docs/zh-CN/incidents.md", "", night},
	{"../docs/operation.md", "", twoGenerations},
	{"../docs/routes.md", "", twoGenerations},
	{"../docs/registry-consul.md", "", twoGenerations},
	{"../docs/doctor.md", "", trap},
	{"../docs/security.md", "", unit},
}

// TestTyped types what the pages say, with the program as it is built, and expects what they show. "…" stands for anything,
// and times, IDs and the numbers of generations are those of the day.
func TestTyped(t *testing.T) {
	program := filepath.Join(t.TempDir(), "swallowkeeper")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/swallowkeeper").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, page := range typed {
		t.Run(page.page, func(t *testing.T) {
			t.Parallel()
			var blocks []snippet
			for _, s := range snippets(t, page.page) {
				if s.lang == "console" && s.why == "" && within(t, s, page.under) {
					blocks = append(blocks, s)
				}
			}
			if len(blocks) == 0 {
				t.Fatal("it has nothing to type")
			}
			page.types(t, program, blocks)
		})
	}
}

// within reports whether a block is under a heading.
func within(t *testing.T, s snippet, under string) bool {
	t.Helper()
	if under == "" {
		return true
	}
	_, text, found := strings.Cut(read(t, s.page), "\n## "+under+"\n")
	if !found {
		t.Fatalf("%s has no heading %s", s.page, under)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return strings.Contains(text, s.text)
}

// step is a command and what it prints.
type step struct{ command, output string }

// stepsOf has the commands of blocks without the remarks behind them: "# " or several spaces set them off.
func stepsOf(blocks []snippet) (all []step) {
	for _, s := range blocks {
		whole := true
		for line := range strings.Lines(s.text) {
			command, is := strings.CutPrefix(line, "$ ")
			if !is {
				command, is = strings.CutPrefix(line, "# ")
			}
			switch {
			case is:
				all = append(all, step{command: strings.TrimSpace(regexp.MustCompile(`\s{2,}\S.*`).ReplaceAllString(command, ""))})
			case whole:
				all[len(all)-1].output += line
				continue
			default:
				all[len(all)-1].command += "\n" + strings.TrimSpace(line)
			}
			whole = strings.Count(all[len(all)-1].command, "'")%2 == 0
		}
	}
	return all
}

// expect runs a command, again where what it prints needs a moment to become true. It ends with 0, or with 3 where something
// is held.
func (s step) expect(t *testing.T, command, output string) string {
	t.Helper()
	pattern := regexp.QuoteMeta(output)
	for _, of := range []struct{ now, any string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`, `[-: 0-9]{19}`},
		{`approve [0-9a-f]{12}`, `approve [0-9a-f]{12}`},
		{`generation \d+`, `generation [0-9]+`},
		{"…", "(?s:.*)"},
	} {
		pattern = regexp.MustCompile(of.now).ReplaceAllLiteralString(pattern, of.any)
	}
	want := regexp.MustCompile("^" + pattern + "$")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	last := ""
	for {
		cmd := exec.CommandContext(ctx, "bash", "-c", command)
		cmd.WaitDelay = time.Second // what it leaves in the background keeps its output open
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); want.Match(out) || output == "" && (code == 0 || code == 3) {
			return string(out)
		}
		if ctx.Err() == nil { // else it was killed
			last = fmt.Sprintf("%v\n%s%s", err, out, stderr.Bytes())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("$ %s: %s\nand not\n%s", s.command, last, output)
		}
	}
}

// place is a daemon between doubles of Consul and of an nginx with dyups.
type place struct {
	t                             *testing.T
	registry                      *consultest.Server
	consul, nginx, config, prefix string // prefix runs a command of the program
}

func newPlace(t *testing.T, program, more string) *place {
	t.Helper()
	p := &place{t: t, registry: consultest.New(consultest.Options{})}
	server := httptest.NewUnstartedServer(p.registry)
	server.Listener = p.registry.Listener(server.Listener)
	server.Start()
	t.Cleanup(func() { p.registry.Close(); server.Close() })
	nginx, err := dyupstest.New(dyupstest.Options{WorkerHeader: true, MaxConns: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nginx.Close)
	p.consul, p.nginx = server.Listener.Addr().String(), nginx.API()
	dir := t.TempDir()
	p.config = filepath.Join(dir, "swallowkeeper.toml")
	p.prefix = program + " --config " + p.config
	text := fmt.Sprintf("[[registry]]\naddress = %q\nexclude = [\"consul\"]\n[guard]\nmax_removal = 0.1\nwitness = \"off\"\n[persist]\npath = %q\n"+
		"[[gateway]]\naddress = %q\n[status]\naddress = %q\nsocket = %q\n%s",
		p.consul, filepath.Join(dir, "upstreams.conf"), p.nginx, loopback.Free(t, 1)[0], filepath.Join(dir, "s"), more)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if i != 1 {
			p.register(i)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.CommandContext(t.Context(), program, "--config", p.config)
	daemon.Stderr = log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Wait() // the context has ended it
		if log.Close(); t.Failed() {
			t.Log(read(t, log.Name()))
		}
	})
	p.until("in sync: generation 1, 4 upstreams, 8 servers\n…")
	p.register(1)
	p.until("in sync: generation 2, 4 upstreams, 9 servers\n…")
	return p
}

// register adds one of nine servers: two of each upstream, and a third of cart.
func (p *place) register(i int) {
	p.t.Helper()
	node := fmt.Sprintf("node-%d", i/4+1)
	id := fmt.Sprintf("i%d", i)
	err := p.registry.Register(api.CatalogRegistration{
		Node: node, Address: fmt.Sprintf("10.0.0.%d", i/4+1),
		Service: &api.AgentService{
			ID: id, Service: []string{"web", "orders", "mail", "cart", "cart"}[i/2], Address: fmt.Sprintf("10.0.0.%d", i/4+1), Port: 9000 + i%4 + 1,
		},
		Checks: api.HealthChecks{{Node: node, CheckID: "http-" + id, Name: "http", Status: "passing", ServiceID: id}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) until(output string) {
	p.t.Helper()
	step{command: "status"}.expect(p.t, p.prefix+" status", output)
}

// types runs steps at the place: the generations that a page names are the first two, and questions are answered with yes.
func (p *place) types(steps []step) {
	p.t.Helper()
	moved := strings.NewReplacer("swallowkeeper ", p.prefix+" ", " 41 42", " 1 2", "rollback 41", "rollback 1 --yes", "127.0.0.1:8500", p.consul)
	for _, s := range steps {
		s.expect(p.t, moved.Replace(s.command), s.output)
	}
}

// night is an incident: most servers are lost, each of them more than max_removal allows. The page begins with what one may do then, and shows it afterwards.
func night(t *testing.T, program string, blocks []snippet) {
	p := newPlace(t, program, "")
	for i := range 4 {
		if err := p.registry.Deregister(api.CatalogDeregistration{Node: "node-1", ServiceID: fmt.Sprintf("i%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"i4", "i6"} {
		if err := p.registry.SetCheck("node-2", "http-"+id, "critical"); err != nil {
			t.Fatal(err)
		}
	}
	steps := stepsOf(blocks)
	first := len(stepsOf(blocks[:1]))
	held := steps[first]
	shown := held.expect(t, p.prefix+" status", held.output)
	id := regexp.MustCompile(`approve ([0-9a-f]+)`).FindStringSubmatch(shown)[1]
	approve := steps[first+1]
	approve.command = regexp.MustCompile(`[0-9a-f]{12}`).ReplaceAllString(approve.command, id)
	p.types([]step{approve})
	for _, s := range steps[:first] {
		if s.command != "swallowkeeper doctor" { // doctor.md
			p.types([]step{s})
		}
	}
}

func twoGenerations(t *testing.T, program string, blocks []snippet) {
	route := ""
	for _, s := range snippets(t, "../docs/routes.md") {
		if s.lang == "toml" {
			route += s.text
		}
	}
	newPlace(t, program, route).types(stepsOf(blocks))
}

// trap has an nginx.conf with a fault in it.
func trap(t *testing.T, program string, blocks []snippet) {
	p := newPlace(t, program, "")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"nginx.conf": "events {}\nhttp {\n    include " + filepath.Dir(p.config) + "/*.conf;\n    include " + dir + "/shop.conf;\n" +
			"server { listen " + strings.TrimPrefix(p.nginx, "http://") +
			"; location / { dyups_interface; add_header X-Dyups-Worker $pid always; client_body_in_file_only clean; } }\n}\n",
		"shop.conf": "server {\n    listen 80;\n\n\n\n\n\n\n\n\n\n\n    location / {\n        proxy_pass http://web;\n    }\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stepsOf(blocks) {
		s.expect(t, strings.ReplaceAll(s.command, "swallowkeeper doctor", p.prefix+" doctor --nginx-conf "+dir+"/nginx.conf"),
			strings.ReplaceAll(s.output, "/etc/nginx/conf.d", dir))
	}
}

// unit asks systemd about the unit.
func unit(t *testing.T, _ string, blocks []snippet) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd here")
	}
	for _, s := range stepsOf(blocks) {
		s.expect(t, "cd "+root+" && "+s.command, s.output)
	}
}
