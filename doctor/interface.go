package doctor

import (
	"fmt"
	"slices"
	"strings"

	"swallowkeeper/doctor/access"
	"swallowkeeper/doctor/nginxtree"
)

// api is a place where nginx's upstreams can be changed.
type api struct {
	at     *nginxtree.Directive // dyups_interface, or the Lua block
	block  *nginxtree.Directive // location or server
	server *nginxtree.Directive
	lua    bool
}

func findInterfaces(t *nginxtree.Tree) []*api {
	var all []*api
	t.Walk(func(d *nginxtree.Directive) {
		lua := d.Name() == "content_by_lua_block" && strings.Contains(d.Lua, "dyups_api.serve")
		server := d.Around("server")
		if server != nil && (lua || d.Name() == "dyups_interface") {
			all = append(all, &api{at: d, block: d.Parent, server: server, lua: lua})
		}
	})
	return all
}

// lua reports whether it is the Lua API, which has no queue and ignores case in names.
func (r *report) lua() bool {
	return len(r.api) > 0 && !slices.ContainsFunc(r.api, func(a *api) bool { return !a.lua })
}

func (a *api) serves(address string) bool {
	return slices.ContainsFunc(access.Listens(a.server), func(l access.Listen) bool { return l.Serves(address) })
}

func (r *report) checkInterfaces() {
	if len(r.api) == 0 && r.told() == nil {
		return
	}
	if len(r.api) == 0 {
		r.add(Finding{
			Check: "interface", Severity: Problem, Where: r.facts.Nginx.Main,
			What: "nginx has no dyups interface",
			Why:  "Nothing can be pushed: changes take effect at the next reload only.",
			Change: "server { listen " + r.listenFor() + "; location / { dyups_interface; add_header " +
				"X-Dyups-Worker $pid always; } }" +
				"   # in http { }; where nginx has no dyups module: swallowkeeper nginx install-lua",
		})
		return
	}
	for _, a := range r.api {
		r.checkOpen(a)
		r.checkForwarded(a)
		r.checkLimits(a)
		r.checkWorkerHeader(a)
		r.checkBody(a)
	}
	for _, g := range r.facts.Gateways {
		if g.API != nil && !slices.ContainsFunc(r.api, func(a *api) bool { return a.serves(g.API.Address) }) {
			r.add(Finding{
				Check: "interface-address", Severity: Warning, Where: r.api[0].at.Where(),
				What: fmt.Sprintf("No dyups interface listens where gateway %s is said to "+
					"be (%s)", g.Name, g.API.Address),
				Why: "Unless a port is forwarded, or this is another nginx than the gateway's, " +
					"nothing can be pushed.",
				Now: r.api[0].at.String(),
				Change: fmt.Sprintf("[[gateway]] address = \"…\"   # where it listens: %s",
					describeListens(r.api[0].server)),
			})
		}
	}
}

// listenFor returns where to look for the interface: the first gateway's address.
func (r *report) listenFor() string {
	for _, g := range r.facts.Gateways {
		if g.API == nil {
			continue
		}
		if path, is := strings.CutPrefix(g.API.Address, "unix:"); is {
			return "unix:" + path
		}
		if _, at, is := strings.Cut(g.API.Address, "://"); is {
			at, _, _ = strings.Cut(at, "/")
			return at
		}
	}
	return "127.0.0.1:18882"
}

func describeListens(server *nginxtree.Directive) string {
	var all []string
	for _, l := range access.Listens(server) {
		all = append(all, l.String())
	}
	return strings.Join(all, ", ")
}

const workerHeader = "X-Dyups-Worker"

func (r *report) checkWorkerHeader(a *api) {
	line := "add_header " + workerHeader + " $pid always;"
	f := Finding{
		Check: "worker-header", Severity: Warning, Where: a.at.Where(),
		What: "The dyups interface does not say which worker answers",
		Why: "Each worker has its own upstreams. Without the header the workers can't be told " +
			"apart: a change reaches the others " +
			"up to a second later, and one that crashed serves old servers unseen.",
		Change: line + "   # in the interface's location",
	}
	headers := a.block.Inherited("add_header")
	if a.block.Value("add_header_inherit", "on") == "merge" { // since nginx 1.29.3
		for b := a.block.Parent; b != nil; b = b.Parent {
			headers = append(headers, b.Children("add_header")...)
		}
	}
	for _, h := range headers {
		if len(h.Args) < 3 || !strings.EqualFold(h.Args[1], workerHeader) {
			continue
		}
		switch {
		case h.Args[2] != "$pid":
			f.What = "The header " + workerHeader + " is not the worker's pid"
		case len(h.Args) < 4 || h.Args[3] != "always":
			f.Severity, f.What = Hint, "The header "+workerHeader+" is missing on answers with an error"
			f.Why = "An error can't be told to belong to one worker."
		default:
			return
		}
		f.Where, f.Now, f.Change = h.Where(), h.String(), line
		break
	}
	r.add(f)
}

// checkBody checks that request bodies arrive complete.
func (r *report) checkBody(a *api) {
	largest := r.largest()
	limit, known := size(a.block.Value("client_max_body_size", "1m"))
	if known && limit > 0 && largest.body > limit {
		f := Finding{
			Check: "body-size", Severity: Problem, Where: a.at.Where(),
			What: fmt.Sprintf("Upstream %s takes %d bytes, the interface "+
				"takes %d", largest.name, largest.body, limit),
			Why:    "nginx answers 413: the upstream stays as it was.",
			Change: fmt.Sprintf("client_max_body_size %dm;", largest.body*2>>20+1),
		}
		r.add(at(f, a.block.Inherited("client_max_body_size")))
	}
	if mode := a.block.Value("client_body_in_file_only", "off"); !a.lua && mode == "off" {
		f := Finding{
			Check: "body-in-file", Severity: Hint, Where: a.at.Where(),
			What: "Bodies of the dyups interface are kept in memory",
			Why: "dyups takes in only the first two pieces of a body that arrives in several, and " +
				"says success. swallowkeeper sends " +
				"each in one piece; what scripts or a proxy between send may be cut.",
			Change: "client_body_in_file_only clean;   # in the interface's location",
		}
		r.add(at(f, a.block.Inherited("client_body_in_file_only")))
	}
	for name, usual := range map[string]string{"keepalive_timeout": "1h", "keepalive_requests": "1000000"} {
		found := a.block.Inherited(name)
		if len(found) == 0 || len(found[0].Args) < 2 {
			continue
		}
		value := strings.TrimRight(found[0].Args[1], "ms")
		if value != "0" && (value != "1" || name != "keepalive_requests") {
			continue
		}
		r.add(Finding{
			Check: "keepalive-timeout", Severity: Warning, Where: found[0].Where(), Now: found[0].String(),
			What:   "The dyups interface closes each connection after its answer",
			Why:    "swallowkeeper keeps a connection to each worker, to ask every one of them. So it can't.",
			Change: name + " " + usual + ";",
		})
	}
}

// at moves a finding to the line to change, if there is one.
func at(f Finding, list []*nginxtree.Directive) Finding {
	if len(list) > 0 {
		f.Where, f.Now = list[0].Where(), list[0].String()
	}
	return f
}
