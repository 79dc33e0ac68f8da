package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"swallowkeeper/upstream"
)

// apart is how far clocks may be from each other.
const apart = 5 * time.Second

func (r *report) checkClock(where string, ahead time.Duration) {
	if ahead.Abs() <= apart {
		return
	}
	way := "ahead of"
	if ahead < 0 {
		way = "behind"
	}
	r.add(Finding{
		Check: "clock", Severity: Warning, Where: where,
		What: fmt.Sprintf("Its clock is %s %s this machine's", ahead.Abs().Round(time.Second), way),
		Why: "Logs, the history and its times can't be laid side by side, and certificates and " +
			"tokens end too early or too late.",
		Change: "timedatectl set-ntp true   # on the machine that is wrong",
	})
}

// checkGateways looks at what the gateways answered.
func (r *report) checkGateways() {
	for _, g := range r.facts.Gateways {
		where := "gateway " + g.Name
		if g.Err != nil {
			r.add(Finding{
				Check: "gateway-unread", Severity: Unknown, Where: where,
				What:   "It can't be asked: " + oneLine(g.Err.Error()),
				Why:    "Nothing can be pushed to it now, and what it has is not known.",
				Change: curl(g.Address, "-si", "/list") + "   # look at nginx, the address and the port",
			})
			continue
		}
		r.checkClock(where, g.Ahead)
		if !g.Worker && !r.has("worker-header") {
			f := Finding{
				Check: "worker-header", Severity: Warning, Where: where,
				What: "Its answers do not say which worker they come from",
				Why: "A change reaches the other workers up to a second later, and one that " +
					"crashed serves old servers unseen.",
				Change: "add_header " + workerHeader + " $pid always;   # in the interface's location",
			}
			if len(r.api) > 0 {
				f.What += ", though nginx's configuration says so"
				f.Change = "nginx -s reload   # or it is a proxy between that takes the header away"
			}
			r.add(f)
		}
		if g.StaticUnknown {
			r.add(Finding{
				Check: "own-upstreams", Severity: Warning, Where: where,
				What: "The API in Lua can't tell which upstreams nginx's own configuration has",
				Why: "A service of the same name is not left out. Where nginx includes the conf file, it does not " +
					"start any more: duplicate upstream.",
				Change: "nginx must not include the conf file: the library reads it. The error log says why it " +
					"can't tell",
			})
		}
		r.checkForeign(where, g)
	}
}

// curl is how a person calls a gateway.
func curl(address, options, path string) string {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		return "curl " + options + " --unix-socket " + socket + " http://localhost" + path
	}
	return "curl " + options + " " + strings.TrimSuffix(address, "/") + path
}

func (r *report) has(check string) bool {
	return slices.ContainsFunc(r.list, func(f Finding) bool { return f.Check == check })
}

// checkForeign looks for services that are left out because the gateway has an upstream of
// their name that swallowkeeper never wrote. Before the first write it takes them over.
func (r *report) checkForeign(where string, g Gateway) {
	if r.facts.Written.Len() == 0 {
		return
	}
	written := func(name string) bool {
		for u := range r.facts.Written.All() {
			if upstream.SameName(u.Name, name) {
				return true
			}
		}
		return false
	}
	inFiles := map[string]bool{}
	for _, f := range r.list {
		if f.Check == "duplicate" {
			inFiles[strings.ToLower(f.Now)] = true
		}
	}
	for _, name := range g.Live {
		u, wanted := r.facts.Wanted.Get(name)
		if !wanted || written(name) || inFiles["upstream "+strings.ToLower(name)+" {"] {
			continue
		}
		r.add(Finding{
			Check: "duplicate", Severity: Problem, Where: where,
			What: "It has an upstream " + show(u.Name) + " that swallowkeeper did not write, and " +
				"a service of that name is registered",
			Why: "The service is left out: what swallowkeeper did not write it does not change. " +
				"Its instances get no traffic.",
			Change: "Rename the upstream in nginx's configuration; one that was posted " +
				"by hand: " + curl(g.Address, "-X DELETE", "/upstream/"+u.Name),
		})
	}
}

// checkRegistries looks at how the registries can be read.
func (r *report) checkRegistries() {
	for _, reg := range r.facts.Registries {
		where := "registry " + reg.Name
		if reg.Cut != nil {
			r.add(Finding{
				Check: "token", Severity: Problem, Where: where,
				What: "The token reads too little: " + oneLine(reg.Cut.Error()),
				Why: "A list that is cut looks like services that are gone. It is not believed, so " +
					"nothing changes in nginx any more.",
				Change: `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" } ` +
					`agent_prefix "" { policy = "read" }` +
					"   # the token's policy; then token_file = \"…\" in [[registry]]",
			})
			continue
		}
		if reg.Err != nil {
			r.add(Finding{
				Check: "registry-unread", Severity: Unknown, Where: where,
				What:   "It can't be read: " + oneLine(reg.Err.Error()),
				Why:    "Nothing changes in nginx until it can, and what it lists is not known.",
				Change: "Look at the registry's address and its log.",
			})
			continue
		}
		r.checkClock(where, reg.Ahead)
		r.checkConnections(where, reg)
		r.checkUnchecked(where, reg.Unchecked)
	}
}

func (r *report) checkConnections(where string, reg Registry) {
	tells := ""
	if reg.Guessed {
		tells = " (its default: the token may not read what it is set to)"
	}
	if reg.Asked > reg.Connections && reg.Connections > 0 && !reg.Guessed {
		r.add(Finding{
			Check: "connections", Severity: Problem, Where: where,
			Now: fmt.Sprintf("connections = %d", reg.Asked),
			What: fmt.Sprintf("Consul takes %d connections from one address, swallowkeeper is "+
				"told to open up to %d", reg.Connections, reg.Asked),
			Why:    "Consul refuses the rest with 429: services whose queries it refuses are not watched.",
			Change: "connections = 0   # it asks Consul",
		})
	}
	if reg.Unwatched > 0 {
		r.add(Finding{
			Check: "connections", Severity: Warning, Where: where,
			What: fmt.Sprintf("Consul takes %d connections from one address%s: %d of %s have no "+
				"query of their own",
				reg.Connections, tells, reg.Unwatched, many(reg.Services, "service")),
			Why: "Their changes are found by reading again, which takes longer; other programs that " +
				"keep a connection a service " +
				"(consul-template, upsync) do not come up at all beside this.",
			Change: fmt.Sprintf("limits { http_max_conns_per_client = %d }   # in Consul's "+
				"configuration; or an https address, "+
				"where one connection carries all", reg.Enough),
		})
	}
}

// checkUnchecked names the services with instances that nobody checks.
func (r *report) checkUnchecked(where string, list []Instance) {
	by := map[string][]Instance{}
	for _, i := range list {
		by[i.Service] = append(by[i.Service], i)
	}
	if len(by) == 0 {
		return
	}
	f := Finding{
		Check: "no-check", Severity: Warning, Where: where,
		What: many(len(by), "service") + " have instances without a check of their own",
		Why: "Consul takes an instance without a check for healthy as long as its node is: one " +
			"that died keeps its traffic.",
		Change: `"check": {"http": "http://ADDRESS:PORT/health", "interval": "5s", "timeout": "2s"}` +
			"   # in its registration; \"tcp\": \"ADDRESS:PORT\" where it speaks no HTTP",
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		first := by[name][0]
		which := fmt.Sprintf("%s at %s on node %s", show(first.ID), quote(first.Addr), show(first.Node))
		if more := len(by[name]) - 1; more > 0 {
			which += fmt.Sprintf(", and %d more", more)
		}
		if len(by) == 1 {
			f.What = fmt.Sprintf("Service %s has %s without a check of its own: %s", show(name),
				many(len(by[name]), "instance"), which)
			break
		}
		f.Places = append(f.Places, where+": service "+show(name)+": "+which)
	}
	r.add(f)
}
