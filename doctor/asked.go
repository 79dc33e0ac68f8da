package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"swallowkeeper/doctor/finding"
	"swallowkeeper/internal/safetext"
)

// apart is the tolerated difference between clocks.
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

// checkGateways checks the gateways' answers.
func (r *report) checkGateways() {
	inNginx := map[string]bool{} // a finding about nginx's configuration has the line
	for _, f := range r.list {
		inNginx[f.Check] = true
	}
	for _, g := range r.facts.Gateways {
		where := "gateway " + g.Name
		if g.Err != nil {
			r.add(Finding{
				Check: "gateway-unread", Severity: Unknown, Where: where,
				What:   "It can't be asked: " + safetext.Cut(safetext.Words(g.Err.Error()), 300),
				Why:    "Nothing can be pushed to it now, and what it has is not known.",
				Change: g.Ask,
			})
			continue
		}
		r.checkClock(where, g.Ahead)
		for _, f := range g.Findings {
			if inNginx[f.Check] {
				continue
			}
			if f.Check == "worker-header" && len(r.api) > 0 {
				f.What += ", though nginx's configuration says so"
				f.Change = "nginx -s reload   # or it is a proxy between that takes the header away"
			}
			r.addAt(where, f)
		}
		r.checkForeign(where, g)
	}
}

// addAt adds a finding of a registry or gateway.
func (r *report) addAt(where string, f Finding) {
	f.Where = where
	f.Places = slices.Clone(f.Places)
	for i, place := range f.Places {
		f.Places[i] = where + ": " + place
	}
	r.add(f)
}

func (r *report) has(check string) bool {
	return slices.ContainsFunc(r.list, func(f Finding) bool { return f.Check == check })
}

// checkForeign reports services that are left out because the gateway has an upstream of the same name that
// swallowkeeper never wrote. Before the first write, swallowkeeper takes such upstreams over.
func (r *report) checkForeign(where string, g Gateway) {
	if r.facts.Written.Len() == 0 {
		return
	}
	inFiles := map[string]bool{}
	for _, f := range r.list {
		if f.Check == "duplicate" {
			inFiles[strings.ToLower(f.Now)] = true
		}
	}
	for _, name := range g.Upstreams {
		u, wanted := r.facts.Wanted.Get(name)
		_, written := r.facts.Written.Get(name)
		if !wanted || written || inFiles["upstream "+strings.ToLower(name)+" {"] {
			continue
		}
		byHand := ""
		if g.Remove != nil {
			byHand = "; one that was posted by hand: " + g.Remove(u.Name)
		}
		r.add(Finding{
			Check: "duplicate", Severity: Problem, Where: where,
			What: "It has an upstream " + finding.Show(u.Name) + " that swallowkeeper did not write, and " +
				"a service of that name is registered",
			Why: "The service is left out: what swallowkeeper did not write it does not change. " +
				"Its instances get no traffic.",
			Change: "Rename the upstream in nginx's configuration" + byHand,
		})
	}
}

// checkRegistries checks the registries' answers.
func (r *report) checkRegistries() {
	for _, reg := range r.facts.Registries {
		where := "registry " + reg.Name
		if reg.Err != nil {
			r.add(Finding{
				Check: "registry-unread", Severity: Unknown, Where: where,
				What:   "It can't be read: " + safetext.Cut(safetext.Words(reg.Err.Error()), 300),
				Why:    "Nothing changes in nginx until it can, and what it lists is not known.",
				Change: "Look at the registry's address and its log.",
			})
			continue
		}
		r.checkClock(where, reg.Ahead)
		for _, f := range reg.Findings {
			r.addAt(where, f)
		}
	}
}
