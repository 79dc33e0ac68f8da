package docker

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"swallowkeeper/upstream"
)

func at(ips ...string) (all []netip.Addr) {
	for _, ip := range ips {
		all = append(all, netip.MustParseAddr(ip))
	}
	return all
}

// judged writes what becomes of workloads.
func judged(t *testing.T, change func(*Config), all ...workload) string {
	t.Helper()
	c := DefaultConfig()
	if change != nil {
		change(&c)
	}
	r := &Registry{cfg: c, name: "dc", defaults: upstream.Defaults{All: upstream.DefaultTemplate()}}
	set := r.set(r.judge(all, nil))
	s := show(set)
	var lines []string
	for u := range set.All() {
		line := u.Name + ":"
		for _, v := range u.Servers {
			line += " " + v.Addr.String()
			if v.Weight != 1 {
				line += fmt.Sprintf("*%d", v.Weight)
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(append(append(lines, s.routes...), s.out...), "\n")
}

type labels = map[string]string

// box is a container on network web that exposes 8080.
func box(l labels) workload {
	return workload{id: "c1", name: "box", labels: l, networks: []attachment{{"web", at("10.0.0.1")}}, exposed: []int{8080}}
}

func TestJudge(t *testing.T) {
	named := labels{"swallowkeeper.name": "web"}
	with := func(l labels, more ...string) labels {
		all := labels{}
		for k, v := range l {
			all[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			all[more[i]] = more[i+1]
		}
		return all
	}
	two := box(named)
	two.networks = append(two.networks, attachment{"backend", at("10.1.0.1")})
	onHost := workload{id: "c1", name: "box", labels: named, onHost: true, exposed: []int{80}}
	out := box(named)
	out.exposed, out.bindings = []int{80, 443}, []binding{{80, 8080, netip.IPv4Unspecified()}, {80, 8080, netip.IPv6Unspecified()}}
	special := out
	special.bindings = []binding{{80, 8080, netip.MustParseAddr("10.9.9.9")}}
	for _, row := range []struct {
		name   string
		change func(*Config)
		w      workload
		want   string
	}{
		{"a name", nil, box(named), "web: 10.0.0.1:8080"},
		{"no label", nil, box(nil), ""},
		{"no label, and all are exposed, but it has no name", func(c *Config) { c.Expose = exposeAll }, box(nil), ""},
		{"compose's name alone", nil, box(labels{composeService: "shop"}), ""},
		{"compose's name, all exposed", func(c *Config) { c.Expose = exposeAll }, box(labels{composeService: "shop"}), "shop: 10.0.0.1:8080"},
		{"the swarm's name, all exposed", func(c *Config) { c.Expose = exposeAll }, box(labels{swarmService: "shop"}), "shop: 10.0.0.1:8080"},
		{"enabled, and compose's name", nil, box(labels{composeService: "shop", "swallowkeeper.enable": "true"}), "shop: 10.0.0.1:8080"},
		{"enabled without a name", nil, box(labels{"swallowkeeper.enable": "true"}), "box : nothing names its service: set swallowkeeper.name"},
		{"switched off", nil, box(with(named, "swallowkeeper.enable", "false")), "web:\nweb 10.0.0.1:8080: swallowkeeper.enable is false"},
		{"switched otherwise", nil, box(with(named, "swallowkeeper.enable", "flase")), "web:\nweb 10.0.0.1:8080: swallowkeeper.enable is \"flase\": allowed is true or false"},
		{"a name that is none", nil, box(labels{"swallowkeeper.name": "a b"}), "a b : the name has characters other than letters, digits, _ . - or begins with . or -"},
		{"port and weight", nil, box(with(named, "swallowkeeper.port", "9000", "swallowkeeper.weight", "5")), "web: 10.0.0.1:9000*5"},
		{"port 0", nil, box(with(named, "swallowkeeper.port", "0")), "web:\nweb : swallowkeeper.port is \"0\": allowed is a port from 1 to 65535"},
		{"port name", nil, box(with(named, "swallowkeeper.port", "http")), "web:\nweb : swallowkeeper.port is \"http\": allowed is a port from 1 to 65535"},
		{"weight 0", nil, box(with(named, "swallowkeeper.weight", "0")), "web:\nweb 10.0.0.1:8080: swallowkeeper.weight is \"0\": allowed is a number from 1 to 65535"},
		{"two ports", nil, func() workload { w := box(named); w.exposed = []int{80, 9000}; return w }(), "web:\nweb : exposes 80 and 9000: set swallowkeeper.port"},
		{"no port", nil, func() workload { w := box(named); w.exposed = nil; return w }(), "web:\nweb : exposes no tcp port: set swallowkeeper.port"},
		{"two networks", nil, two, "web:\nweb : on 2 networks: set swallowkeeper.network (web and backend)"},
		{"two networks, one of the configuration", func(c *Config) { c.Networks = []string{"none", "backend", "web"} }, two, "web: 10.1.0.1:8080"},
		{"the network of its label", nil, func() workload { w := two; w.labels = with(named, "swallowkeeper.network", "web"); return w }(), "web: 10.0.0.1:8080"},
		{"compose's word for it", nil, func() workload {
			w := two
			w.labels = with(named, "swallowkeeper.network", "net", "com.docker.compose.project", "p")
			w.networks = append(w.networks, attachment{"p_net", at("10.2.0.1")})
			return w
		}(), "web: 10.2.0.1:8080"},
		{"another network", nil, box(with(named, "swallowkeeper.network", "x")), "web:\nweb : it is not on network \"x\" of swallowkeeper.network, but on web"},
		{"no network", nil, func() workload { w := box(named); w.networks = nil; return w }(), "web:\nweb : it has no address on a network"},
		{"its machine's network", func(c *Config) { c.HostIP = "10.8.8.8" }, onHost, "web: 10.8.8.8:80"},
		{"published", func(c *Config) { c.Address, c.HostIP = published, "10.8.8.8" }, out, "web: 10.8.8.8:8080"},
		{"published at one address", func(c *Config) { c.Address = published }, special, "web: 10.9.9.9:8080"},
		{"exposed and not published", func(c *Config) { c.Address = published }, box(named), "web:\nweb : port 8080 is not published: docker run --publish"},
		{"not included", func(c *Config) { c.Include = []string{"api-*"} }, box(named), "web : its service is not in include"},
		{"excluded", func(c *Config) { c.Exclude = []string{"w*"} }, box(named), "web : its service is in exclude"},

		{"registrator: a name", nil, box(labels{"SERVICE_NAME": "shop"}), "shop: 10.0.0.1:8080"},
		{"registrator: a variable", nil, func() workload { w := box(nil); w.env = environment([]string{"PATH=/", "SERVICE_NAME=shop"}); return w }(), "shop: 10.0.0.1:8080"},
		{"registrator: names by port", nil, box(labels{"SERVICE_80_NAME": "shop", "SERVICE_81_NAME": "admin"}), "admin: 10.0.0.1:81\nshop: 10.0.0.1:80"},
		{"registrator: ignored", nil, box(labels{"SERVICE_NAME": "shop", "SERVICE_IGNORE": "1"}), "shop:\nshop 10.0.0.1:8080: SERVICE_IGNORE is set"},
		{"registrator: tags for fabio", nil, box(labels{"SERVICE_NAME": "shop", "SERVICE_TAGS": "v1, urlprefix-/shop"}), "shop: 10.0.0.1:8080\nshop /shop/* from=dc"},
		{"nginx-proxy", nil, box(labels{"VIRTUAL_HOST": "a.example,b.example", "VIRTUAL_PATH": "/api/", "VIRTUAL_DEST": "/", "VIRTUAL_PORT": "81"}), "a-example-api: 10.0.0.1:81\na-example-api a.example/api/* strip=/api from=dc\na-example-api b.example/api/* strip=/api from=dc"},
		{
			"nginx-proxy: another destination", nil, box(with(named, "VIRTUAL_PATH", "/api", "VIRTUAL_DEST", "/v2")),
			"web: 10.0.0.1:8080\nweb /api/*: route option \"dest\": allowed are methods, strip, rewrite, timeout, auth, websocket",
		},
		{
			"nginx-proxy: all hosts", nil, box(labels{"swallowkeeper.name": "web", "VIRTUAL_HOST": "*.example"}),
			`web: 10.0.0.1:8080
web *.example/*: host "*.example": no wildcard is allowed`,
		},
		{"nginx-proxy: port 80 of several", nil, func() workload { w := box(labels{"VIRTUAL_HOST": "a.example"}); w.exposed = []int{80, 443}; return w }(), "a-example: 10.0.0.1:80\na-example a.example/* from=dc"},
		{"nginx-proxy: no port 80 of several", nil, func() workload { w := box(labels{"VIRTUAL_HOST": "a.example"}); w.exposed = []int{81, 443}; return w }(), "a-example:\na-example a.example/* from=dc\na-example : exposes 81 and 443: set swallowkeeper.port"},
		{"nginx-proxy: not HTTP", nil, box(labels{"VIRTUAL_HOST": "a.example", "VIRTUAL_PROTO": "fastcgi"}), "a-example:\na-example a.example/* from=dc\na-example 10.0.0.1:8080: VIRTUAL_PROTO is \"fastcgi\": allowed is http"},
		{"nginx-proxy: internal", nil, func() workload {
			w := box(labels{"VIRTUAL_HOST": "a.example"})
			w.env = environment([]string{"NETWORK_ACCESS=internal"})
			return w
		}(), "a-example:\na-example a.example/* from=dc\na-example 10.0.0.1:8080: NETWORK_ACCESS is \"internal\": allowed is external; or set swallowkeeper.route"},
		{"nginx-proxy: external", nil, box(labels{"VIRTUAL_HOST": "a.example", "NETWORK_ACCESS": "external"}), "a-example: 10.0.0.1:8080\na-example a.example/* from=dc"},
		{"nginx-proxy: internal, and a route of ours", nil, box(with(named, "swallowkeeper.route", "/a/*", "NETWORK_ACCESS", "internal")), "web: 10.0.0.1:8080\nweb /a/* from=dc"},
		{"Chipmunks", nil, box(labels{swarmService: "shop", chipmunksAuth: "/auth"}), "shop: 10.0.0.1:8080\nshop /shop/* auth=/auth from=dc"},

		{
			"a route", nil, box(with(named, "swallowkeeper.route", "shop.example/web/*", "swallowkeeper.route.strip", "true", "swallowkeeper.route.2", "/old/*")),
			"web: 10.0.0.1:8080\nweb shop.example/web/* strip=/web from=dc\nweb /old/* from=dc",
		},
		{"a route that can't be had", nil, box(with(named, "swallowkeeper.route", "/a;b")), `web: 10.0.0.1:8080
web /a;b: path "/a;b": ';' is not allowed in a path`},
		{"ours go before theirs", nil, box(with(named, "swallowkeeper.route", "/a/*", "VIRTUAL_PATH", "/b")), "web: 10.0.0.1:8080\nweb /a/* from=dc"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := judged(t, row.change, row.w); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// TestSeveral: one address is in as long as it is usable once, most say what the routes are, and an instance that is wrong
// puts no other out.
func TestSeveral(t *testing.T) {
	route := func(id, ip, path string) workload {
		w := box(labels{"swallowkeeper.name": "web", "swallowkeeper.route": path})
		w.id, w.networks = id, []attachment{{"web", at(ip)}}
		return w
	}
	sick := route("c2", "10.0.0.1", "/a/*")
	sick.out, sick.unhealthy = isUnhealthy.With(), true
	if got, want := judged(t, nil, route("c1", "10.0.0.1", "/a/*"), sick), "web: 10.0.0.1:8080\nweb /a/* from=dc"; got != want {
		t.Errorf("twice: %s", got)
	}
	got := judged(t, nil, route("c1", "10.0.0.1", "/a/*"), route("c2", "10.0.0.2", "/a/*"), route("c3", "10.0.0.3", "/b/*"), box(labels{"swallowkeeper.name": "web", "swallowkeeper.port": "x"}))
	want := "web: 10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080\nweb /a/* from=dc\n" +
		"web : swallowkeeper.port is \"x\": allowed is a port from 1 to 65535\nweb /b/*: most instances of its service say other routes"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// With none usable, its routes stay.
	if got := judged(t, nil, sick); !strings.Contains(got, "web /a/* from=dc") || !strings.Contains(got, "its health check says unhealthy") {
		t.Error(got)
	}
}

func TestSignals(t *testing.T) {
	for text, want := range map[string]int{
		"15": 15, "TERM": 15, "SIGTERM": 15, "sigquit": 3, "SIGRTMIN+3": 37, "RTMIN": 34, "SIGRTMIN+99": 0, "nonsense": 0, "": 0, "999": 0, "-1": 0,
	} {
		if got := signalNumber(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
	for _, row := range []struct {
		signal, own int
		want        bool
	}{{15, 15, true}, {2, 15, true}, {3, 15, true}, {9, 15, true}, {1, 15, false}, {10, 15, false}, {12, 15, false}, {28, 28, true}, {1, 1, true}, {0, 0, false}} {
		if got := stops(row.signal, row.own); got != row.want {
			t.Errorf("signal %d of one that stops by %d: %v", row.signal, row.own, got)
		}
	}
}

// tasks is a service of a swarm with tasks.
func tasks() ([]swarm.Service, []swarm.Task, []swarm.Node) {
	s := swarm.Service{ID: "s1"}
	s.Spec.Name, s.Spec.Labels = "app", labels{"swallowkeeper.route": "/app/*"}
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Labels: labels{"swallowkeeper.weight": "3"}}
	s.Endpoint.Ports = []swarm.PortConfig{{Protocol: network.TCP, TargetPort: 8080, PublishedPort: 80}}
	task := func(id, ip string, state swarm.TaskState) swarm.Task {
		t := swarm.Task{ID: id, ServiceID: "s1", Slot: 1, NodeID: "n1", DesiredState: swarm.TaskStateRunning, Status: swarm.TaskStatus{State: state}}
		for name, ip := range map[string]string{"ingress": "10.0.0.9", "mesh": ip} {
			a := swarm.NetworkAttachment{Addresses: []netip.Prefix{netip.MustParsePrefix(ip + "/24")}}
			a.Network.Spec.Name, a.Network.Spec.Ingress = name, name == "ingress"
			t.NetworksAttachments = append(t.NetworksAttachments, a)
		}
		t.Status.PortStatus.Ports = []swarm.PortConfig{{Protocol: network.TCP, TargetPort: 8080, PublishedPort: 32768, PublishMode: swarm.PortConfigPublishModeHost}}
		return t
	}
	gone := task("t9", "10.1.0.9", swarm.TaskStateRunning)
	gone.DesiredState = swarm.TaskStateShutdown
	empty := swarm.Service{ID: "s2"}
	empty.Spec.Name, empty.Spec.Labels, empty.Spec.TaskTemplate.ContainerSpec = "empty", labels{"swallowkeeper.port": "80"}, &swarm.ContainerSpec{}
	job := empty
	job.ID, job.Spec.Name, job.Spec.Mode.ReplicatedJob = "s3", "job", &swarm.ReplicatedJob{}
	return []swarm.Service{s, empty, job},
		[]swarm.Task{task("t1", "10.1.0.1", swarm.TaskStateRunning), task("t2", "10.1.0.2", swarm.TaskStatePreparing), gone},
		[]swarm.Node{{ID: "n1", Status: swarm.NodeStatus{Addr: "10.7.7.7"}}}
}

func FuzzJudge(f *testing.F) {
	f.Add("swallowkeeper.name", "web", "SERVICE_80_NAME", "x", "80")
	f.Add("swallowkeeper.route", "/a{b", "swallowkeeper.route.2.strip", "true", "0")
	f.Add("VIRTUAL_HOST", "a,,b", "VIRTUAL_PATH", "//", "-1")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, port string) {
		w := box(labels{k1: v1, k2: v2, "swallowkeeper.port": port})
		w.env = environment([]string{k1 + "=" + v1, k2 + "=" + v2})
		c := DefaultConfig()
		c.Expose = exposeAll
		r := &Registry{cfg: c, name: "dc", defaults: upstream.Defaults{All: upstream.DefaultTemplate()}}
		set := r.set(r.judge([]workload{w}, nil))
		for u := range set.All() {
			if err := u.Valid(); err != nil {
				t.Errorf("%v: %v", w.labels, err)
			}
			for _, r := range u.Routes {
				if err := r.Valid(u.Name); err != nil {
					t.Errorf("%v: %v", w.labels, err)
				}
			}
		}
	})
}
