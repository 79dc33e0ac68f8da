package doctor

import (
	"fmt"
	"strings"
	"time"

	"swallowkeeper/doctor/finding"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/gateway"
	"swallowkeeper/internal/nginxconf"
)

// weight is the size of an upstream's push.
type weight struct {
	name       string
	body, cost int // bytes of its body, and in the queue
}

// weights returns the size of each push of the set.
func (r *report) weights() []weight {
	set := r.facts.Wanted
	if set.Len() == 0 {
		set = r.facts.Written
	}
	list := make([]weight, 0, set.Len())
	var body []byte
	for u := range set.All() {
		if len(u.Servers) == 0 {
			continue
		}
		body = nginxconf.AppendBody(body[:0], u)
		w := weight{name: u.Name, body: len(body)}
		if api := r.told(); api != nil {
			w.cost = api.Cost(len(u.Name), len(body))
		}
		list = append(list, w)
	}
	return list
}

// told returns how changes are sent to nginx, from the first gateway of that kind; nil if there is none.
func (r *report) told() *gateway.API {
	for _, g := range r.facts.Gateways {
		if g.API != nil {
			return g.API
		}
	}
	return nil
}

func (r *report) largest() weight {
	var most weight
	for _, w := range r.weights() {
		if w.body > most.body {
			most = w
		}
	}
	return most
}

// checkQueue checks that the queue that carries changes to the workers is large enough, and that swallowkeeper knows
// its size.
func (r *report) checkQueue() {
	api := r.told()
	if len(r.api) == 0 || r.lua() || api == nil {
		return
	}
	queue, queueAt := api.Usual.Bytes, r.setting("dyups_shm_zone_size")
	if queueAt != nil {
		if n, ok := size(queueAt.Args[1]); ok && n > 0 {
			queue = n
		}
	}
	r.checkQueueSize(queue, queueAt)
	read, readAt := api.Usual.ReadTimeout, r.setting("dyups_read_msg_timeout")
	if readAt != nil {
		if d, ok := duration(readAt.Args[1]); ok && d > 0 {
			read = d
		}
	}
	for _, g := range r.facts.Gateways {
		if !r.servedHere(g) {
			continue
		}
		if !r.has("queue-size") { // it has the right value for both
			r.checkQueueSetting(g, queue)
		}
		r.checkReadSetting(g, read)
	}
}

func (r *report) checkQueueSetting(g Gateway, queue int) {
	f := Finding{
		Check: "queue-setting", Where: "gateway " + g.Name, Now: fmt.Sprintf("queue_bytes = %d", g.API.Queue.Bytes),
		What: fmt.Sprintf("swallowkeeper takes nginx's queue for %s, it has %s",
			inBytes(g.API.Queue.Bytes), inBytes(queue)),
		Change: fmt.Sprintf("queue_bytes = %d", queue),
	}
	switch {
	case g.API.Queue.Bytes > queue:
		f.Severity = Problem
		f.Why = "It reckons with half of the queue. With more than there is, changes find no room and reach one " +
			"worker only at first."
	case g.API.Queue.Bytes < queue:
		f.Severity, f.Why = Hint, "What there is more is not used: many changes take longer than they could."
	default:
		return
	}
	r.add(f)
}

func (r *report) checkReadSetting(g Gateway, read time.Duration) {
	f := Finding{
		Check: "read-setting", Where: "gateway " + g.Name,
		Now: fmt.Sprintf("read_msg_timeout = %q", g.API.Queue.ReadTimeout),
		What: fmt.Sprintf("nginx's workers read changes every %s, swallowkeeper reckons with %s",
			read, g.API.Queue.ReadTimeout),
		Change: fmt.Sprintf("read_msg_timeout = %q", read),
	}
	switch {
	case g.API.Queue.ReadTimeout > read:
		f.Severity, f.Why = Hint, "It waits longer than it has to."
	case g.API.Queue.ReadTimeout < read:
		f.Severity = Warning
		f.Why = "It takes the queue for empty too early, and a worker after a crash for gone."
	default:
		return
	}
	r.add(f)
}

// servedHere reports whether a gateway is this nginx.
func (r *report) servedHere(g Gateway) bool {
	for _, a := range r.api {
		if g.API != nil && !a.lua && a.serves(g.API.Address) {
			return true
		}
	}
	return false
}

func (r *report) setting(name string) *nginxtree.Directive {
	var found *nginxtree.Directive
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() == name && len(d.Args) == 2 && inHTTP(d) {
			found = d
		}
	})
	return found
}

func (r *report) checkQueueSize(queue int, zone *nginxtree.Directive) {
	total, worst := 0, weight{}
	list := r.weights()
	for _, w := range list {
		total += w.cost
		if w.cost > worst.cost {
			worst = w
		}
	}
	f := Finding{Check: "queue-size", Where: r.facts.Nginx.Main}
	need := total
	switch {
	case worst.cost > queue:
		need = max(need, worst.cost)
		f.Severity = Problem
		f.What = fmt.Sprintf("Upstream %s takes %s, the queue between nginx's workers has %s",
			finding.Show(worst.name), inBytes(worst.cost), inBytes(queue))
		f.Why = "It never fits: nginx answers 500 and only the worker that answered changes, so " +
			"each has to be sent it by itself."
	case total > queue/2:
		f.Severity = Warning
		f.What = fmt.Sprintf("All %s take %s, the queue between nginx's workers has %s",
			finding.Many(len(list), "upstream"), inBytes(total), inBytes(queue))
		f.Why = "swallowkeeper uses half of it at most and has the workers read it when that is " +
			"full, so a push of all takes " +
			"several rounds. Others that post (scripts, by hand) do not: they get 500, and some " +
			"workers keep what is old."
	default:
		return
	}
	megabytes := 2
	for megabytes<<20 < 2*need {
		megabytes *= 2
	}
	f.Change = fmt.Sprintf("dyups_shm_zone_size %dm;   # in http { }, and queue_bytes = %d for the "+
		"gateway; a reload is enough",
		megabytes, megabytes<<20)
	if zone != nil {
		f = at(f, []*nginxtree.Directive{zone})
	}
	r.add(f)
}

// inBytes formats a number of bytes.
func inBytes(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 1<<20:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/(1<<20)), ".0") + " MB"
	case n >= 1<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
