package doctor

import (
	"fmt"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/doctor/nginxtree"
)

// dictCost estimates the shared memory that the Lua library needs for an upstream: twice its text and two entries.
// BenchmarkMemory in dyups/lua measures it.
func (w weight) dictCost() int { return 2*(len(w.name)+w.body) + 128 }

// checkDict checks that the Lua library's shared memory has room for all upstreams, and for those being replaced: old
// and new versions coexist for a moment.
func (r *report) checkDict() {
	if !r.lua() {
		return
	}
	var dict *nginxtree.Directive
	r.facts.Nginx.Walk(func(d *nginxtree.Directive) {
		if d.Name() == "lua_shared_dict" && len(d.Args) == 3 && d.Args[1] == "dyups" && inHTTP(d) {
			dict = d
		}
	})
	if dict == nil {
		return // nginx does not start without it
	}
	room, ok := size(dict.Args[2])
	if !ok {
		return
	}
	need := 0
	list := r.weights()
	for _, w := range list {
		need += w.dictCost()
	}
	if need <= room/4*3 {
		return
	}
	megabytes := 16
	for megabytes<<20 < 2*need {
		megabytes *= 2
	}
	r.add(at(Finding{
		Check: "dict-size", Severity: Warning,
		What: fmt.Sprintf("All %s take about %s, the shared memory dyups has %s", finding.Many(len(list), "upstream"), inBytes(need), inBytes(room)),
		Why: "When it is full a change is refused and changes nothing: nginx keeps what it had, and swallowkeeper is " +
			"out of sync.",
		Change: fmt.Sprintf("lua_shared_dict dyups %dm;   # a reload is enough: it reads the conf file anew", megabytes),
	}, []*nginxtree.Directive{dict}))
}
